//! The types that a field may have. A number or a boolean may also be written as a string, and a whole number as `5.0`,
//! as in pydantic, which most other servers use.

use serde_json::Value;

use crate::api::error::ApiError;
use crate::manifest::wording;

/// A type that a field may have.
pub(in crate::api) trait Field: Sized {
    /// What error messages say is expected, for example `a string`.
    const EXPECTED: &'static str;

    /// The value in this type.
    ///
    /// # Errors
    /// The value itself if it has another type.
    fn from_value(value: Value) -> Result<Self, Value>;
}

impl Field for String {
    const EXPECTED: &'static str = "a string";

    fn from_value(value: Value) -> Result<Self, Value> {
        match value {
            Value::String(text) => Ok(text),
            other => Err(other),
        }
    }
}

impl Field for bool {
    const EXPECTED: &'static str = "true or false";

    fn from_value(value: Value) -> Result<Self, Value> {
        let flag = match &value {
            Value::Bool(flag) => Some(*flag),
            Value::Number(number) => flag_of_number(number.as_f64()),
            Value::String(text) => flag_of_text(text),
            _ => None,
        };
        flag.ok_or(value)
    }
}

fn flag_of_number(number: Option<f64>) -> Option<bool> {
    match number {
        Some(0.0) => Some(false),
        Some(1.0) => Some(true),
        _ => None,
    }
}

fn flag_of_text(text: &str) -> Option<bool> {
    match text.to_ascii_lowercase().as_str() {
        "true" | "t" | "yes" | "y" | "on" | "1" => Some(true),
        "false" | "f" | "no" | "n" | "off" | "0" => Some(false),
        _ => None,
    }
}

impl Field for i64 {
    const EXPECTED: &'static str = "a whole number";

    fn from_value(value: Value) -> Result<Self, Value> {
        let number = match &value {
            Value::Number(number) => number.as_i64().or_else(|| number.as_f64().and_then(exact)),
            Value::String(text) => text.trim().parse().ok(),
            _ => None,
        };
        number.ok_or(value)
    }
}

/// A float that is a whole number, within the range in which floats represent every whole number.
fn exact(number: f64) -> Option<i64> {
    const LARGEST: f64 = (1u64 << f64::MANTISSA_DIGITS) as f64;
    (number.fract() == 0.0 && number.abs() < LARGEST).then_some(number as i64)
}

impl Field for f64 {
    const EXPECTED: &'static str = "a number";

    fn from_value(value: Value) -> Result<Self, Value> {
        let number = match &value {
            Value::Number(number) => number.as_f64(),
            Value::String(text) => text.trim().parse().ok().filter(|number: &f64| number.is_finite()),
            _ => None,
        };
        number.ok_or(value)
    }
}

impl Field for Vec<Value> {
    const EXPECTED: &'static str = "a list";

    fn from_value(value: Value) -> Result<Self, Value> {
        match value {
            Value::Array(list) => Ok(list),
            other => Err(other),
        }
    }
}

impl Field for Value {
    const EXPECTED: &'static str = "a value";

    fn from_value(value: Value) -> Result<Self, Value> {
        Ok(value)
    }
}

/// The error about a value of the wrong type. It quotes numbers, which are short, but no text.
pub(in crate::api) fn wrong_type(path: impl Into<String>, expected: &str, found: &Value) -> ApiError {
    if expected == i64::EXPECTED && found.as_f64().is_some_and(is_whole) {
        let reason = format!("is {found}: whole numbers here go from {} to {}", i64::MIN, i64::MAX);
        return ApiError::invalid(path, reason);
    }
    ApiError::invalid(path, wording::wrong_type(expected, found))
}

fn is_whole(number: f64) -> bool {
    number.fract() == 0.0
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn values_are_read_as_pydantic_reads_them() {
        for (value, flag) in
            [(json!("true"), true), (json!("Off"), false), (json!(1), true), (json!(0.0), false)]
        {
            assert_eq!(bool::from_value(value.clone()), Ok(flag), "{value}");
        }
        for value in [json!("maybe"), json!(2), json!(0.5), json!([])] {
            assert_eq!(bool::from_value(value.clone()), Err(value));
        }
        assert_eq!(i64::from_value(json!(5.0)), Ok(5));
        assert_eq!(i64::from_value(json!(" 7 ")), Ok(7));
        assert_eq!(f64::from_value(json!("1e-3")), Ok(1e-3));
        for value in [json!(1.5), json!(u64::MAX), json!(1e30), json!("1.5"), json!(true)] {
            assert_eq!(i64::from_value(value.clone()), Err(value));
        }
        assert_eq!(f64::from_value(json!("nan")), Err(json!("nan")));
    }

    #[test]
    fn an_error_says_what_is_wrong_with_a_number() {
        let message = |expected, value: &Value| wrong_type("seed", expected, value).to_string();
        assert_eq!(message("a whole number", &json!(1.5)), "`seed` must be a whole number, not 1.5");
        let large = message("a whole number", &json!(1u64 << 63));
        assert!(large.starts_with("`seed` is 9223372036854775808: whole numbers here go from -9"), "{large}");
        assert_eq!(message("a list", &json!("x")), "`seed` must be a list, not a string");
    }
}
