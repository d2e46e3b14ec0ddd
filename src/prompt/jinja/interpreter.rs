//! Runs the statements of a template.

use std::sync::Arc;

use super::ast::{Expr, Name, Program, Statement, StatementKind, Target};
use super::budget::Budget;
use super::fault::{Fault, fault};
use super::loop_state::LoopState;
use super::value::{Dict, Value};
use crate::manifest::TemplateDate;

/// What a statement does to those after it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Flow {
    Next,
    Break,
    Continue,
}

/// Variables, and where to look for others.
pub(super) struct Scope {
    pub(super) variables: Vec<(Name, Value)>,
    pub(super) parent: Option<usize>,
    /// Whether a macro may still see it when its statement is over.
    pub(super) captured: bool,
}

/// Something with a state. Values hold only its number, so that none can contain itself.
pub(super) enum Object {
    Namespace(Dict),
    Cycler {
        items: Vec<Value>,
        at: usize,
    },
    Joiner {
        separator: Value,
        used: bool,
    },
    /// What is left of a generator, last item first.
    Iterator(Vec<Value>),
}

/// The scope of variables that the template is given.
const GIVEN: usize = 0;
/// The scope of the template's top level.
pub(super) const TOP: usize = 1;

pub(super) struct Interpreter<'p> {
    pub(super) program: &'p Program,
    pub(super) budget: Budget,
    /// Characters that the injection guard put into texts.
    pub(super) marks: String,
    pub(super) date: Option<TemplateDate>,
    pub(super) objects: Vec<Object>,
    pub(super) loops: Vec<LoopState>,
    /// The variable `loop`, if the template uses it.
    loop_name: Option<Name>,
    /// Loops so far, by which they are numbered.
    pub(super) loop_count: u64,
    pub(super) scopes: Vec<Scope>,
    pub(super) scope: usize,
    /// Text of the block that filters are applied to.
    pub(super) buffer: Value,
    /// Line of the statement that runs.
    pub(super) line: u32,
}

impl<'p> Interpreter<'p> {
    /// With the variables that `given` looks up.
    pub(super) fn new(
        program: &'p Program,
        budget: Budget,
        given: impl Fn(&str) -> Option<Value>,
        marks: &str,
        date: Option<TemplateDate>,
    ) -> Self {
        let variables = program.names.iter().enumerate();
        let variables = variables.filter_map(|(name, text)| Some((name as Name, given(text)?))).collect();
        let scopes = vec![
            Scope { variables, parent: None, captured: true },
            Scope { variables: Vec::new(), parent: Some(GIVEN), captured: true },
        ];
        Self {
            program,
            budget,
            marks: marks.to_owned(),
            date,
            objects: Vec::new(),
            loops: Vec::new(),
            loop_name: program.names.iter().position(|name| &**name == "loop").map(|name| name as Name),
            loop_count: 0,
            scopes,
            scope: TOP,
            buffer: Value::None,
            line: 1,
        }
    }

    /// The text of the whole template.
    ///
    /// # Errors
    /// The template fails or costs too much.
    pub(super) fn run(&mut self) -> Result<String, Fault> {
        let mut out = String::new();
        let program = self.program;
        self.run_body(&program.body, &mut out)?;
        Ok(out)
    }

    pub(super) fn run_body(&mut self, body: &'p [Statement], out: &mut String) -> Result<Flow, Fault> {
        self.budget.enter()?;
        let mut flow = Flow::Next;
        for statement in body {
            self.line = statement.line;
            flow = self.run_statement(&statement.kind, out)?;
            if flow != Flow::Next {
                break;
            }
        }
        self.budget.leave();
        Ok(flow)
    }

    // Each kind has a function of its own, so that nested statements take little stack.
    fn run_statement(&mut self, statement: &'p StatementKind, out: &mut String) -> Result<Flow, Fault> {
        self.budget.steps(1)?;
        match statement {
            StatementKind::Data(text) => self.write(text, out),
            StatementKind::Print(value) => self.print(value, out),
            StatementKind::If(branches, otherwise) => return self.run_if(branches, otherwise, out),
            StatementKind::For(index) => self.run_for(*index, out),
            StatementKind::Set(target, value) => self.run_set(target, value),
            StatementKind::SetBlock(target, filters, body) => {
                self.run_set_block(target, filters.as_ref(), body)
            }
            StatementKind::With(values, body) => return self.run_with(values, body, out),
            StatementKind::Macro(index) => self.define_macro(*index),
            StatementKind::Call(call, index) => self.run_call(call, *index, out),
            StatementKind::Filter(filters, body) => self.run_filter(filters, body, out),
            StatementKind::Scope { body, sees_outer } => {
                return self.run_scope(if *sees_outer { self.scope } else { TOP }, body, out);
            }
            StatementKind::AutoEscape(on, body) => {
                if self.eval_bool(on)? {
                    return fault!(
                        "HTML escaping (`autoescape`) is not supported; chat templates make plain text"
                    );
                }
                return self.run_scope(self.scope, body, out);
            }
            StatementKind::Break => return Ok(Flow::Break),
            StatementKind::Continue => return Ok(Flow::Continue),
            StatementKind::NeedsLoader(tag) => {
                fault!("`{tag}` needs another template, and a chat template has none beside it")
            }
        }?;
        Ok(Flow::Next)
    }

    fn print(&mut self, value: &'p Expr, out: &mut String) -> Result<(), Fault> {
        let value = self.eval(value)?;
        match value.as_str() {
            Some(text) => self.write(text, out),
            None => {
                out.push_str(&self.text(&value)?);
                Ok(())
            }
        }
    }

    fn run_if(
        &mut self,
        branches: &'p [(Expr, Vec<Statement>)],
        otherwise: &'p [Statement],
        out: &mut String,
    ) -> Result<Flow, Fault> {
        for (condition, body) in branches {
            if self.eval_bool(condition)? {
                return self.run_body(body, out);
            }
        }
        self.run_body(otherwise, out)
    }

    fn run_for(&mut self, index: usize, out: &mut String) -> Result<(), Fault> {
        let program = self.program;
        let iterable = self.eval(&program.loops[index].iterable)?;
        self.run_loop(index, &iterable, 0, out)
    }

    fn run_set(&mut self, target: &Target, value: &'p Expr) -> Result<(), Fault> {
        let value = self.eval(value)?;
        self.assign(target, value)
    }

    fn run_set_block(
        &mut self,
        target: &Target,
        filters: Option<&'p Expr>,
        body: &'p [Statement],
    ) -> Result<(), Fault> {
        let text = self.buffered(body)?;
        let value = match filters {
            Some(filters) => self.filter_buffer(filters, text)?,
            None => Value::str(text),
        };
        self.assign(target, value)
    }

    fn run_with(
        &mut self,
        values: &'p [(Target, Expr)],
        body: &'p [Statement],
        out: &mut String,
    ) -> Result<Flow, Fault> {
        let mut evaluated = Vec::with_capacity(values.len());
        for (_, value) in values {
            evaluated.push(self.eval(value)?);
        }
        let outer = self.open_scope(self.scope)?;
        for ((target, _), value) in values.iter().zip(evaluated) {
            self.assign(target, value)?;
        }
        let flow = self.run_body(body, out)?;
        self.close_scope(outer);
        Ok(flow)
    }

    fn run_scope(&mut self, parent: usize, body: &'p [Statement], out: &mut String) -> Result<Flow, Fault> {
        let outer = self.open_scope(parent)?;
        let flow = self.run_body(body, out)?;
        self.close_scope(outer);
        Ok(flow)
    }

    fn run_call(&mut self, call: &'p Expr, index: usize, out: &mut String) -> Result<(), Fault> {
        let caller = self.macro_value(index, None)?;
        let value = self.eval_call_with(call, Some(caller))?;
        out.push_str(&self.text(&value)?);
        Ok(())
    }

    fn run_filter(
        &mut self,
        filters: &'p Expr,
        body: &'p [Statement],
        out: &mut String,
    ) -> Result<(), Fault> {
        let text = self.buffered(body)?;
        let value = self.filter_buffer(filters, text)?;
        out.push_str(&self.text(&value)?);
        Ok(())
    }

    fn write(&mut self, text: &str, out: &mut String) -> Result<(), Fault> {
        self.budget.bytes(text.len())?;
        out.push_str(text);
        Ok(())
    }

    /// The text of a body with variables of its own.
    fn buffered(&mut self, body: &'p [Statement]) -> Result<String, Fault> {
        let outer = self.open_scope(self.scope)?;
        let mut text = String::new();
        self.run_body(body, &mut text)?;
        self.close_scope(outer);
        Ok(text)
    }

    fn filter_buffer(&mut self, filters: &'p Expr, text: String) -> Result<Value, Fault> {
        let outer = std::mem::replace(&mut self.buffer, Value::str(text));
        let value = self.eval(filters);
        self.buffer = outer;
        value
    }

    /// Runs a loop over `iterable`. The current scope is the one that the loop is in.
    pub(super) fn run_loop(
        &mut self,
        index: usize,
        iterable: &Value,
        depth: usize,
        out: &mut String,
    ) -> Result<(), Fault> {
        let program = self.program;
        let node = &program.loops[index];
        let id = self.start_loop(index, iterable, depth)?;
        let mut ran = false;
        while let Some(item) = self.next_item(id)? {
            ran = true;
            let outer = self.open_scope(self.scope)?;
            self.assign(&node.target, item)?;
            if let Some(name) = self.loop_name {
                self.set(name, Value::Loop(id));
            }
            let flow = self.run_body(&node.body, out)?;
            self.close_scope(outer);
            if flow == Flow::Break {
                break;
            }
        }
        self.end_loop(id);
        if !ran {
            let outer = self.open_scope(self.scope)?;
            self.run_body(&node.otherwise, out)?;
            self.close_scope(outer);
        }
        Ok(())
    }

    pub(super) fn new_object(&mut self, object: Object) -> Value {
        self.objects.push(object);
        Value::Object(self.objects.len() - 1)
    }

    /// A generator over `items`.
    pub(super) fn iterator(&mut self, mut items: Vec<Value>) -> Result<Value, Fault> {
        self.budget.items(items.len())?;
        items.reverse();
        Ok(self.new_object(Object::Iterator(items)))
    }

    /// All items of something that can be iterated over; a generator gives those that are left.
    ///
    /// # Errors
    /// It cannot be iterated over.
    pub(super) fn collect(&mut self, value: &Value) -> Result<Vec<Value>, Fault> {
        let items: Vec<Value> = match value {
            Value::Undefined(_) => Vec::new(),
            Value::Str(text) => {
                self.budget.items(text.len())?;
                text.chars().map(|c| Value::str(Arc::from(c.encode_utf8(&mut [0; 4]) as &str))).collect()
            }
            Value::List(list) | Value::Tuple(list) => list.items.clone(),
            Value::Dict(dict) => dict.keys().cloned().collect(),
            Value::View(view, dict) => view.items(dict)?,
            Value::Range(range) => {
                (0..range.length).filter_map(|index| range.get(index)).map(Value::Int).collect()
            }
            Value::Object(id) => match &mut self.objects[*id] {
                Object::Iterator(items) => {
                    let mut items = std::mem::take(items);
                    items.reverse();
                    items
                }
                _ => return fault!("this object cannot be iterated over"),
            },
            other => return fault!("a {} cannot be iterated over", other.type_name()),
        };
        self.budget.items(items.len())?;
        Ok(items)
    }
}
