//! Macros, and the blocks that call them.

use super::arguments::Given;
use super::ast::{Macro, Name};
use super::fault::{Fault, fault};
use super::interpreter::{Interpreter, Scope};
use super::value::{Dict, MacroValue, Value};

impl<'p> Interpreter<'p> {
    /// Gives a macro its name.
    pub(super) fn define_macro(&mut self, index: usize) -> Result<(), Fault> {
        let name = self.program.macros[index].name;
        let value = self.macro_value(index, name)?;
        if let Some(name) = name {
            self.set(name, value);
        }
        Ok(())
    }

    pub(super) fn macro_value(&mut self, index: usize, name: Option<Name>) -> Result<Value, Fault> {
        // Its scopes stay until the template is rendered.
        self.budget.bytes(size_of::<Scope>())?;
        let mut scope = Some(self.scope);
        while let Some(at) = scope {
            self.scopes[at].captured = true;
            scope = self.scopes[at].parent;
        }
        let name = name.map(|name| self.program.names[name as usize].clone());
        Ok(Value::Macro(MacroValue { index, scope: self.scope, name }.into()))
    }

    /// Calls a macro.
    ///
    /// # Errors
    /// The arguments do not fit, or its body fails.
    pub(super) fn call_macro(&mut self, called: &MacroValue, given: Given) -> Result<Value, Fault> {
        let program = self.program;
        let node = &program.macros[called.index];
        let line = self.line;
        let outer = self.open_scope(called.scope)?;
        self.bind_macro(node, called.name.as_deref().unwrap_or("caller"), given)?;
        let mut text = String::new();
        self.run_body(&node.body, &mut text)?;
        self.close_scope(outer);
        self.line = line;
        Ok(Value::str(text))
    }

    /// Gives the parameters of a macro their values.
    fn bind_macro(&mut self, node: &'p Macro, shown: &str, mut given: Given) -> Result<(), Fault> {
        let names = &self.program.names;
        let mut positional = given.positional.into_iter();
        let takes_caller = node.parameters.iter().any(|(name, _)| &*names[*name as usize] == "caller");
        for (name, default) in &node.parameters {
            let text = &names[*name as usize];
            let named = given.named.iter().position(|(known, _)| known == text);
            let value = match (positional.next(), named, default) {
                (Some(value), ..) => value,
                (None, Some(at), _) => given.named.remove(at).1,
                (None, None, Some(default)) => self.eval(default)?,
                (None, None, None) => Value::undefined(format!("parameter `{text}` was not provided")),
            };
            self.set(*name, value);
        }
        let rest: Vec<_> = positional.collect();
        if node.uses.caller && !takes_caller {
            let at = given.named.iter().position(|(known, _)| &**known == "caller");
            let caller = at.map(|at| given.named.remove(at).1);
            self.set_named("caller", caller.unwrap_or_else(|| Value::undefined("there is no caller")));
        }
        if node.uses.kwargs {
            let mut dict = Dict::default();
            for (name, value) in std::mem::take(&mut given.named) {
                dict.insert(Value::Str(name), value)?;
            }
            self.set_named("kwargs", Value::dict(dict));
        }
        if let Some((name, _)) = given.named.first() {
            return fault!("macro `{shown}` has no argument `{name}`");
        }
        if node.uses.varargs {
            self.set_named("varargs", Value::tuple(rest)?);
        } else if !rest.is_empty() {
            return fault!("macro `{shown}` takes at most {} arguments", node.parameters.len());
        }
        Ok(())
    }

    fn set_named(&mut self, name: &str, value: Value) {
        if let Some(index) = self.program.names.iter().position(|known| &**known == name) {
            self.set(index as Name, value);
        }
    }
}
