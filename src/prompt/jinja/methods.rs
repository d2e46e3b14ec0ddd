//! Methods of lists, dictionaries and numbers; those of texts are in `strings`.

use super::arguments::Given;
use super::fault::{Fault, fault};
use super::function::Function;
use super::interpreter::{Interpreter, Object};
use super::strings;
use super::value::{Dict, Value, View};

const DICT: [&str; 6] = ["get", "items", "keys", "values", "copy", "fromkeys"];
const CHANGES_DICT: [&str; 5] = ["clear", "pop", "popitem", "setdefault", "update"];
const CHANGES_LIST: [&str; 8] = ["append", "clear", "pop", "reverse", "insert", "sort", "extend", "remove"];

/// Whether a method would change the object. Transformers forbids those too.
pub(super) fn changes_it(object: &Value, name: &str) -> bool {
    match object {
        Value::List(_) => CHANGES_LIST.contains(&name),
        Value::Dict(_) => CHANGES_DICT.contains(&name),
        _ => false,
    }
}

/// Whether an object has a method.
pub(super) fn has(object: &Value, name: &str) -> bool {
    match object {
        Value::Str(_) => strings::METHODS.contains(&name),
        Value::List(_) => ["index", "count", "copy"].contains(&name),
        Value::Tuple(_) | Value::Range(_) => ["index", "count"].contains(&name),
        Value::Dict(_) => DICT.contains(&name),
        Value::Int(_) | Value::Bool(_) => ["bit_length", "is_integer", "conjugate"].contains(&name),
        Value::Float(_) => ["is_integer", "conjugate", "hex"].contains(&name),
        Value::Function(Function::Dict) => name == "fromkeys",
        _ => false,
    }
}

/// `real`, `imag` and their like of a number.
pub(super) fn number_part(number: &Value, name: &str) -> Option<Value> {
    match (number, name) {
        (Value::Float(value), "real") => Some(Value::Float(*value)),
        (Value::Float(_), "imag") => Some(Value::Float(0.0)),
        (Value::Float(_), _) => None,
        (number, "real" | "numerator") => number.as_int().map(Value::Int),
        (_, "imag") => Some(Value::Int(0)),
        (_, "denominator") => Some(Value::Int(1)),
        _ => None,
    }
}

impl Interpreter<'_> {
    pub(super) fn call_method(&mut self, object: &Value, name: &str, given: Given) -> Result<Value, Fault> {
        match object {
            Value::Str(text) => self.call_string_method(text, name, given),
            Value::Loop(id) => self.call_loop_method(*id, name, given),
            Value::Object(id) => self.call_cycler(*id, name),
            Value::Dict(dict) => match name {
                "items" => Ok(Value::View(View::Items, dict.clone())),
                "keys" => Ok(Value::View(View::Keys, dict.clone())),
                "values" => Ok(Value::View(View::Values, dict.clone())),
                "copy" => Ok(object.clone()),
                "get" => {
                    given.no_names(name)?;
                    let [key, default] = given.bind("get", ["key", "default"], 1)?;
                    let key = key.unwrap_or(Value::None);
                    key.key()?;
                    Ok(dict.get(&key).cloned().or(default).unwrap_or(Value::None))
                }
                _ => self.dict_from_keys(given),
            },
            Value::Function(_) => self.dict_from_keys(given),
            Value::List(_) if name == "copy" => Ok(object.clone()),
            Value::List(_) | Value::Tuple(_) | Value::Range(_) => {
                given.no_names(name)?;
                let [item, start, stop] = given.bind(name, ["value", "start", "stop"], 1)?;
                let items = self.collect(object)?;
                let item = item.unwrap_or(Value::None);
                if name == "count" {
                    return Ok(Value::Int(items.iter().filter(|other| other.equals(&item)).count() as i128));
                }
                let bound =
                    |value: Option<Value>, default: usize| match value.and_then(|value| value.as_int()) {
                        Some(at) if at < 0 => usize::try_from(at + items.len() as i128).unwrap_or(0),
                        Some(at) => usize::try_from(at).unwrap_or(usize::MAX).min(items.len()),
                        None => default,
                    };
                let (start, stop) = (bound(start, 0), bound(stop, items.len()));
                match (start..stop).find(|at| items[*at].equals(&item)) {
                    Some(at) => Ok(Value::Int(at as i128)),
                    None => fault!("`index` does not find the item"),
                }
            }
            Value::Float(value) => match name {
                "is_integer" => Ok(Value::Bool(value.fract() == 0.0)),
                "conjugate" => Ok(Value::Float(*value)),
                _ => fault!("`hex` is not supported"),
            },
            _ => match (name, object.as_int()) {
                ("is_integer", Some(_)) => Ok(Value::Bool(true)),
                ("bit_length", Some(value)) => {
                    Ok(Value::Int(i128::from(128 - value.unsigned_abs().leading_zeros())))
                }
                (_, Some(value)) => Ok(Value::Int(value)),
                _ => fault!("a {} has no method `{name}`", object.type_name()),
            },
        }
    }

    fn dict_from_keys(&mut self, given: Given) -> Result<Value, Fault> {
        let [keys, value] = given.bind("fromkeys", ["iterable", "value"], 1)?;
        let value = value.unwrap_or(Value::None);
        let mut dict = Dict::default();
        for key in self.collect(&keys.unwrap_or(Value::None))? {
            dict.insert(key, value.clone())?;
        }
        Ok(Value::dict(dict))
    }

    fn call_cycler(&mut self, id: usize, name: &str) -> Result<Value, Fault> {
        let Object::Cycler { items, at } = &mut self.objects[id] else {
            return fault!("this object has no method `{name}`");
        };
        if name == "reset" {
            *at = 0;
            return Ok(Value::None);
        }
        let item = items[*at].clone();
        *at = (*at + 1) % items.len();
        Ok(item)
    }
}
