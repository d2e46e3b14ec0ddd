//! Names of attributes with dots, as filters take them.

use super::super::value::Value;

/// The parts of an attribute's name, `a.b.0`; numbers are indices of lists.
pub(super) fn path(attribute: Option<&Value>) -> Vec<Value> {
    match attribute {
        None | Some(Value::None) => Vec::new(),
        Some(Value::Str(text)) => text.split('.').map(path_part).collect(),
        Some(other) => vec![other.clone()],
    }
}

fn path_part(part: &str) -> Value {
    let is_number = !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
    match part.parse() {
        Ok(index) if is_number => Value::Int(index),
        _ => Value::str(part),
    }
}
