//! Jinja's tests: `value is name`.

use super::arguments::Given;
use super::ast::Comparison;
use super::fault::{Fault, fault};
use super::interpreter::{Interpreter, Object};
use super::letter_case::has_only_case;
use super::value::Value;
use super::{filters, operators};

/// Every test, and how many arguments it takes.
const TESTS: [(&str, usize); 39] = [
    ("!=", 1),
    ("<", 1),
    ("<=", 1),
    ("==", 1),
    (">", 1),
    (">=", 1),
    ("boolean", 0),
    ("callable", 0),
    ("defined", 0),
    ("divisibleby", 1),
    ("eq", 1),
    ("equalto", 1),
    ("escaped", 0),
    ("even", 0),
    ("false", 0),
    ("filter", 0),
    ("float", 0),
    ("ge", 1),
    ("greaterthan", 1),
    ("gt", 1),
    ("in", 1),
    ("integer", 0),
    ("iterable", 0),
    ("le", 1),
    ("lessthan", 1),
    ("lower", 0),
    ("lt", 1),
    ("mapping", 0),
    ("ne", 1),
    ("none", 0),
    ("number", 0),
    ("odd", 0),
    ("sameas", 1),
    ("sequence", 0),
    ("string", 0),
    ("test", 0),
    ("true", 0),
    ("undefined", 0),
    ("upper", 0),
];

pub(super) fn exists(name: &str) -> bool {
    TESTS.iter().any(|(known, _)| *known == name)
}

impl Interpreter<'_> {
    /// Whether a value passes a test.
    ///
    /// # Errors
    /// There is no such test, or the value does not fit it.
    pub(super) fn passes(&mut self, name: &str, value: &Value, given: Given) -> Result<bool, Fault> {
        let Some((_, takes)) = TESTS.iter().find(|(known, _)| *known == name) else {
            return fault!("there is no test `{name}`");
        };
        let arguments: Vec<Value> =
            given.positional.into_iter().chain(given.named.into_iter().map(|(_, v)| v)).collect();
        if arguments.len() != *takes {
            return fault!("the test `{name}` takes {takes} arguments, not {}", arguments.len());
        }
        let other = arguments.first();
        let comparison = match name {
            "==" | "eq" | "equalto" => Some(Comparison::Eq),
            "!=" | "ne" => Some(Comparison::Ne),
            "<" | "lt" | "lessthan" => Some(Comparison::Lt),
            "<=" | "le" => Some(Comparison::Le),
            ">" | "gt" | "greaterthan" => Some(Comparison::Gt),
            ">=" | "ge" => Some(Comparison::Ge),
            "in" => Some(Comparison::In),
            _ => None,
        };
        if let (Some(comparison), Some(other)) = (comparison, other) {
            return self.compare(comparison, value, other);
        }
        let remainder = |by: &Value| -> Result<bool, Fault> {
            Ok(operators::remainder(value, by)?.as_float() == Some(0.0))
        };
        Ok(match name {
            "defined" => !value.is_undefined(),
            "undefined" => value.is_undefined(),
            "none" => matches!(value, Value::None),
            "boolean" => matches!(value, Value::Bool(_)),
            "true" => matches!(value, Value::Bool(true)),
            "false" => matches!(value, Value::Bool(false)),
            "integer" => matches!(value, Value::Int(_)),
            "float" => matches!(value, Value::Float(_)),
            "number" => matches!(value, Value::Int(_) | Value::Float(_) | Value::Bool(_)),
            "string" => matches!(value, Value::Str(_)),
            "mapping" => matches!(value, Value::Dict(_)),
            "sequence" => matches!(
                value,
                Value::Str(_)
                    | Value::List(_)
                    | Value::Tuple(_)
                    | Value::Dict(_)
                    | Value::Range(_)
                    | Value::Undefined(_)
            ),
            "iterable" => match value {
                Value::Object(id) => matches!(self.objects[*id], Object::Iterator(_)),
                Value::View(..) | Value::Loop(_) => true,
                other => other.len().is_some(),
            },
            "callable" => match value {
                Value::Object(id) => matches!(self.objects[*id], Object::Joiner { .. }),
                Value::Undefined(_) => true,
                other => {
                    matches!(other, Value::Macro(_) | Value::Function(_) | Value::Method(_) | Value::Loop(_))
                }
            },
            "sameas" => other.is_some_and(|other| same_object(value, other)),
            "lower" => has_only_case(&self.text(value)?, false),
            "upper" => has_only_case(&self.text(value)?, true),
            "even" => remainder(&Value::Int(2))?,
            "odd" => operators::remainder(value, &Value::Int(2))?.as_float() == Some(1.0),
            "divisibleby" => remainder(other.unwrap_or(&Value::None))?,
            "filter" => value.as_str().is_some_and(filters::exists),
            "test" => value.as_str().is_some_and(exists),
            _ => false,
        })
    }
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
