//! Evaluates expressions.

use std::sync::Arc;

use super::arguments::Given;
use super::ast::{Arguments, Comparison, Expr};
use super::fault::{Fault, fault};
use super::interpreter::{Interpreter, Object};
use super::operators;
use super::value::{Dict, Value};

impl<'p> Interpreter<'p> {
    pub(super) fn eval(&mut self, expr: &'p Expr) -> Result<Value, Fault> {
        self.budget.enter()?;
        let value = match expr {
            Expr::None => Ok(Value::None),
            Expr::Bool(value) => Ok(Value::Bool(*value)),
            Expr::Int(value) => Ok(Value::Int(*value)),
            Expr::Float(value) => Ok(Value::Float(*value)),
            Expr::Str(text) => Ok(Value::Str(text.clone())),
            Expr::Name(name) => Ok(self.lookup(*name)),
            Expr::Buffer => Ok(self.buffer.clone()),
            Expr::Tuple(items) => self.eval_all(items).and_then(Value::tuple),
            Expr::List(items) => self.eval_all(items).and_then(Value::list),
            Expr::Dict(pairs) => self.eval_dict(pairs),
            Expr::Attribute(object, name) => self.eval_attribute(object, name),
            Expr::Item(object, index) => self.eval_item(object, index),
            Expr::Slice(object, parts) => self.eval_slice(object, parts),
            Expr::Call(..) => self.eval_call_with(expr, None),
            Expr::Filter(value, name, arguments) => self.eval_filter(value, name, arguments),
            Expr::Test(value, name, arguments) => self.eval_test(value, name, arguments),
            Expr::Not(value) => self.eval_bool(value).map(|value| Value::Bool(!value)),
            Expr::Negative(value) => self.eval(value).and_then(|value| operators::negative(&value)),
            Expr::Positive(value) => self.eval(value).and_then(|value| operators::positive(&value)),
            Expr::Binary(operator, left, right) => {
                let left = self.eval(left)?;
                let right = self.eval(right)?;
                self.binary(*operator, &left, &right)
            }
            Expr::Concat(parts) => self.eval_concat(parts),
            Expr::Compare(first, rest) => self.eval_comparison(first, rest),
            Expr::And(left, right) => self.eval_and_or(left, right, false),
            Expr::Or(left, right) => self.eval_and_or(left, right, true),
            Expr::If(value, condition, otherwise) => self.eval_if(value, condition, otherwise.as_deref()),
        }?;
        self.budget.leave();
        Ok(value)
    }

    pub(super) fn eval_bool(&mut self, expr: &'p Expr) -> Result<bool, Fault> {
        Ok(self.eval(expr)?.is_true())
    }

    fn eval_all(&mut self, items: &'p [Expr]) -> Result<Vec<Value>, Fault> {
        self.budget.items(items.len())?;
        items.iter().map(|item| self.eval(item)).collect()
    }

    fn eval_dict(&mut self, pairs: &'p [(Expr, Expr)]) -> Result<Value, Fault> {
        self.budget.items(pairs.len())?;
        let mut dict = Dict::default();
        for (key, value) in pairs {
            let key = self.eval(key)?;
            dict.insert(key, self.eval(value)?)?;
        }
        Ok(Value::dict(dict))
    }

    fn eval_attribute(&mut self, object: &'p Expr, name: &Arc<str>) -> Result<Value, Fault> {
        let object = self.eval(object)?;
        self.attribute(&object, name)
    }

    fn eval_item(&mut self, object: &'p Expr, index: &'p Expr) -> Result<Value, Fault> {
        let object = self.eval(object)?;
        let index = self.eval(index)?;
        self.item(&object, &index)
    }

    fn eval_slice(&mut self, object: &'p Expr, parts: &'p [Option<Expr>; 3]) -> Result<Value, Fault> {
        let object = self.eval(object)?;
        let mut bounds = [None, None, None];
        for (bound, part) in bounds.iter_mut().zip(parts) {
            if let Some(part) = part {
                *bound = match self.eval(part)? {
                    Value::None => None,
                    value => match value.as_int() {
                        Some(number) => Some(number),
                        None => return fault!("a slice needs whole numbers, not {}", value.type_name()),
                    },
                };
            }
        }
        self.slice(&object, bounds)
    }

    fn eval_concat(&mut self, parts: &'p [Expr]) -> Result<Value, Fault> {
        let mut text = String::new();
        for part in parts {
            let value = self.eval(part)?;
            text.push_str(&self.text(&value)?);
        }
        Ok(Value::str(text))
    }

    fn eval_comparison(&mut self, first: &'p Expr, rest: &'p [(Comparison, Expr)]) -> Result<Value, Fault> {
        let mut left = self.eval(first)?;
        for (comparison, right) in rest {
            let right = self.eval(right)?;
            if !self.compare(*comparison, &left, &right)? {
                return Ok(Value::Bool(false));
            }
            left = right;
        }
        Ok(Value::Bool(true))
    }

    fn eval_and_or(&mut self, left: &'p Expr, right: &'p Expr, is_or: bool) -> Result<Value, Fault> {
        let left = self.eval(left)?;
        if left.is_true() == is_or { Ok(left) } else { self.eval(right) }
    }

    fn eval_if(
        &mut self,
        value: &'p Expr,
        condition: &'p Expr,
        otherwise: Option<&'p Expr>,
    ) -> Result<Value, Fault> {
        if self.eval_bool(condition)? {
            return self.eval(value);
        }
        match otherwise {
            Some(otherwise) => self.eval(otherwise),
            None => Ok(Value::undefined("an `if` without `else` has no value, as its condition is false")),
        }
    }

    fn eval_arguments(&mut self, arguments: &'p Arguments) -> Result<Given, Fault> {
        let mut given = Given { positional: self.eval_all(&arguments.positional)?, named: Vec::new() };
        if let Some(more) = &arguments.more_positional {
            let more = self.eval(more)?;
            given.positional.extend(self.collect(&more)?);
        }
        for (name, value) in &arguments.named {
            given.named.push((name.clone(), self.eval(value)?));
        }
        if let Some(more) = &arguments.more_named {
            let Value::Dict(dict) = self.eval(more)? else {
                return fault!("`**` needs a dictionary");
            };
            for (name, value) in dict.entries() {
                let Value::Str(name) = name else { return fault!("the names of arguments must be texts") };
                given.named.push((name.clone(), value.clone()));
            }
        }
        Ok(given)
    }

    /// Evaluates a call, which gets `caller` as an argument of that name.
    pub(super) fn eval_call_with(&mut self, call: &'p Expr, caller: Option<Value>) -> Result<Value, Fault> {
        let Expr::Call(function, arguments) = call else { return fault!("this is not a call") };
        let function = self.eval(function)?;
        let mut given = self.eval_arguments(arguments)?;
        given.named.extend(caller.map(|caller| (Arc::from("caller"), caller)));
        self.call(&function, given)
    }

    /// Calls a value.
    ///
    /// # Errors
    /// It cannot be called, or fails.
    pub(super) fn call(&mut self, function: &Value, given: Given) -> Result<Value, Fault> {
        match function {
            Value::Macro(called) => self.call_macro(called, given),
            Value::Function(function) => self.call_function(*function, given),
            Value::Method(method) => self.call_method(&method.0, &method.1, given),
            Value::Loop(id) => self.call_loop(*id, given),
            Value::Object(id) => self.call_object(*id),
            Value::Undefined(reason) => fault!("{reason}, so it cannot be called"),
            other => fault!("a {} cannot be called", other.type_name()),
        }
    }

    /// Calls a joiner, which gives its separator from the second time on.
    fn call_object(&mut self, id: usize) -> Result<Value, Fault> {
        match &mut self.objects[id] {
            Object::Joiner { separator, used } => {
                let text = if *used { separator.clone() } else { Value::str("") };
                *used = true;
                Ok(text)
            }
            _ => fault!("this object cannot be called"),
        }
    }

    fn eval_filter(&mut self, value: &'p Expr, name: &str, arguments: &'p Arguments) -> Result<Value, Fault> {
        let value = self.eval(value)?;
        let given = self.eval_arguments(arguments)?;
        self.apply_filter(name, &value, given)
    }

    fn eval_test(&mut self, value: &'p Expr, name: &str, arguments: &'p Arguments) -> Result<Value, Fault> {
        let value = self.eval(value)?;
        let given = self.eval_arguments(arguments)?;
        self.passes(name, &value, given).map(Value::Bool)
    }
}
