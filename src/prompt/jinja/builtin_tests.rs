//! Jinja's tests: `value is name`.

use super::arguments::Given;
use super::ast::Comparison;
use super::fault::{Fault, fault};
use super::interpreter::{Interpreter, Object};
use super::letter_case::has_only_case;
use super::value::Value;
use super::{filters, operators};

/// Whether a value passes a test; a test that takes no argument is given `none`.
type Test = fn(&mut Interpreter<'_>, &Value, &Value) -> Result<bool, Fault>;

/// Every test, how many arguments it takes, and what it asks.
const TESTS: [(&str, usize, Test); 39] = [
    ("==", 1, |jinja, value, other| jinja.compare(Comparison::Eq, value, other)),
    ("eq", 1, |jinja, value, other| jinja.compare(Comparison::Eq, value, other)),
    ("equalto", 1, |jinja, value, other| jinja.compare(Comparison::Eq, value, other)),
    ("!=", 1, |jinja, value, other| jinja.compare(Comparison::Ne, value, other)),
    ("ne", 1, |jinja, value, other| jinja.compare(Comparison::Ne, value, other)),
    ("<", 1, |jinja, value, other| jinja.compare(Comparison::Lt, value, other)),
    ("lt", 1, |jinja, value, other| jinja.compare(Comparison::Lt, value, other)),
    ("lessthan", 1, |jinja, value, other| jinja.compare(Comparison::Lt, value, other)),
    ("<=", 1, |jinja, value, other| jinja.compare(Comparison::Le, value, other)),
    ("le", 1, |jinja, value, other| jinja.compare(Comparison::Le, value, other)),
    (">", 1, |jinja, value, other| jinja.compare(Comparison::Gt, value, other)),
    ("gt", 1, |jinja, value, other| jinja.compare(Comparison::Gt, value, other)),
    ("greaterthan", 1, |jinja, value, other| jinja.compare(Comparison::Gt, value, other)),
    (">=", 1, |jinja, value, other| jinja.compare(Comparison::Ge, value, other)),
    ("ge", 1, |jinja, value, other| jinja.compare(Comparison::Ge, value, other)),
    ("in", 1, |jinja, value, other| jinja.compare(Comparison::In, value, other)),
    ("defined", 0, |_, value, _| Ok(!value.is_undefined())),
    ("undefined", 0, |_, value, _| Ok(value.is_undefined())),
    ("none", 0, |_, value, _| Ok(matches!(value, Value::None))),
    ("boolean", 0, |_, value, _| Ok(matches!(value, Value::Bool(_)))),
    ("true", 0, |_, value, _| Ok(matches!(value, Value::Bool(true)))),
    ("false", 0, |_, value, _| Ok(matches!(value, Value::Bool(false)))),
    ("integer", 0, |_, value, _| Ok(matches!(value, Value::Int(_)))),
    ("float", 0, |_, value, _| Ok(matches!(value, Value::Float(_)))),
    ("number", 0, |_, value, _| Ok(matches!(value, Value::Int(_) | Value::Float(_) | Value::Bool(_)))),
    ("string", 0, |_, value, _| Ok(matches!(value, Value::Str(_)))),
    ("mapping", 0, |_, value, _| Ok(matches!(value, Value::Dict(_)))),
    ("sequence", 0, |_, value, _| Ok(is_sequence(value))),
    ("iterable", 0, |jinja, value, _| Ok(jinja.is_iterable(value))),
    ("callable", 0, |jinja, value, _| Ok(jinja.is_callable(value))),
    ("sameas", 1, |_, value, other| Ok(same_object(value, other))),
    ("lower", 0, |jinja, value, _| Ok(has_only_case(&jinja.text(value)?, false))),
    ("upper", 0, |jinja, value, _| Ok(has_only_case(&jinja.text(value)?, true))),
    ("even", 0, |_, value, _| leaves(value, &Value::Int(2), 0.0)),
    ("odd", 0, |_, value, _| leaves(value, &Value::Int(2), 1.0)),
    ("divisibleby", 1, |_, value, other| leaves(value, other, 0.0)),
    ("filter", 0, |_, value, _| Ok(value.as_str().is_some_and(filters::exists))),
    ("test", 0, |_, value, _| Ok(value.as_str().is_some_and(exists))),
    ("escaped", 0, |_, _, _| Ok(false)),
];

pub(super) fn exists(name: &str) -> bool {
    TESTS.iter().any(|(known, ..)| *known == name)
}

impl Interpreter<'_> {
    /// Whether a value passes a test.
    ///
    /// # Errors
    /// There is no such test, or the value does not fit it.
    pub(super) fn passes(&mut self, name: &str, value: &Value, given: Given) -> Result<bool, Fault> {
        let Some((_, takes, test)) = TESTS.iter().find(|(known, ..)| *known == name) else {
            return fault!("there is no test `{name}`");
        };
        let arguments: Vec<Value> =
            given.positional.into_iter().chain(given.named.into_iter().map(|(_, v)| v)).collect();
        if arguments.len() != *takes {
            return fault!("the test `{name}` takes {takes} arguments, not {}", arguments.len());
        }
        test(self, value, arguments.first().unwrap_or(&Value::None))
    }

    fn is_iterable(&self, value: &Value) -> bool {
        match value {
            Value::Object(id) => matches!(self.objects[*id], Object::Iterator(_)),
            Value::View(..) | Value::Loop(_) => true,
            other => other.len().is_some(),
        }
    }

    fn is_callable(&self, value: &Value) -> bool {
        match value {
            Value::Object(id) => matches!(self.objects[*id], Object::Joiner { .. }),
            Value::Undefined(_) => true,
            other => {
                matches!(other, Value::Macro(_) | Value::Function(_) | Value::Method(_) | Value::Loop(_))
            }
        }
    }
}

fn is_sequence(value: &Value) -> bool {
    matches!(
        value,
        Value::Str(_)
            | Value::List(_)
            | Value::Tuple(_)
            | Value::Dict(_)
            | Value::Range(_)
            | Value::Undefined(_)
    )
}

/// Whether `value % by` is `remainder`.
fn leaves(value: &Value, by: &Value, remainder: f64) -> Result<bool, Fault> {
    Ok(operators::remainder(value, by)?.as_float() == Some(remainder))
}

/// Whether two values are one object in Python, as far as that is certain.
fn same_object(left: &Value, right: &Value) -> bool {
    match (left, right) {
        (Value::List(left), Value::List(right)) | (Value::Tuple(left), Value::Tuple(right)) => {
            std::rc::Rc::ptr_eq(left, right)
        }
        (Value::Dict(left), Value::Dict(right)) => std::rc::Rc::ptr_eq(left, right),
        (Value::Undefined(_), _) | (_, Value::Undefined(_)) => false,
        _ => std::mem::discriminant(left) == std::mem::discriminant(right) && left.equals(right),
    }
}
