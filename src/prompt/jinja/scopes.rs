//! Variables: the scopes that they are in, and assignments to them.

use super::ast::{Name, Target};
use super::fault::{Fault, fault};
use super::interpreter::{Interpreter, Object, Scope};
use super::value::Value;

impl Interpreter<'_> {
    /// Enters a new scope inside `parent`. Returns the scope to come back to.
    ///
    /// # Errors
    /// The rendering costs too much.
    pub(super) fn open_scope(&mut self, parent: usize) -> Result<usize, Fault> {
        self.budget.steps(1)?;
        self.scopes.push(Scope { variables: Vec::new(), parent: Some(parent), captured: false });
        Ok(std::mem::replace(&mut self.scope, self.scopes.len() - 1))
    }

    /// Leaves the current scope for `outer`.
    pub(super) fn close_scope(&mut self, outer: usize) {
        if self.scope + 1 == self.scopes.len() && !self.scopes[self.scope].captured {
            self.scopes.pop();
        }
        self.scope = outer;
    }

    pub(super) fn set(&mut self, name: Name, value: Value) {
        let variables = &mut self.scopes[self.scope].variables;
        match variables.iter_mut().find(|(known, _)| *known == name) {
            Some((_, old)) => *old = value,
            None => variables.push((name, value)),
        }
    }

    /// The value of a variable, undefined if it has none.
    pub(super) fn lookup(&self, name: Name) -> Value {
        let mut scope = Some(self.scope);
        while let Some(at) = scope {
            if let Some((_, value)) = self.scopes[at].variables.iter().find(|(known, _)| *known == name) {
                return value.clone();
            }
            scope = self.scopes[at].parent;
        }
        Value::undefined(format!("`{}` is undefined", self.program.names[name as usize]))
    }

    pub(super) fn assign(&mut self, target: &Target, value: Value) -> Result<(), Fault> {
        match target {
            Target::Name(name) => {
                self.set(*name, value);
                Ok(())
            }
            Target::Tuple(targets) => {
                let values = self.collect(&value)?;
                if values.len() != targets.len() {
                    return fault!(
                        "{} values cannot be assigned to {} variables",
                        values.len(),
                        targets.len()
                    );
                }
                for (target, value) in targets.iter().zip(values) {
                    self.assign(target, value)?;
                }
                Ok(())
            }
            Target::Attribute(name, attribute) => {
                check_attribute(attribute)?;
                let namespace = self.lookup(*name);
                if let Value::Object(id) = namespace
                    && let Object::Namespace(attributes) = &mut self.objects[id]
                {
                    return attributes.insert(Value::Str(attribute.clone()), value);
                }
                fault!("`{attribute}` cannot be set of {}, only of a namespace", namespace.type_name())
            }
        }
    }
}

/// Refuses names that transformers does not let a namespace have.
///
/// # Errors
/// It starts with an underscore.
pub(super) fn check_attribute(name: &str) -> Result<(), Fault> {
    if name.starts_with('_') { fault!("a namespace cannot have the attribute `{name}`") } else { Ok(()) }
}
