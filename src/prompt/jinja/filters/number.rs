//! Filters of numbers.

use super::super::arguments::{Given, int as int_argument};
use super::super::fault::{Fault, fault};
use super::super::interpreter::Interpreter;
use super::super::numbers::{parse_float, parse_int, round_float, round_int};
use super::super::value::Value;

type Result<T = Value> = std::result::Result<T, Fault>;

pub(super) fn abs(_: &mut Interpreter<'_>, value: &Value, given: Given) -> Result {
    let [] = given.bind("abs", [], 0)?;
    match (value, value.as_int()) {
        (Value::Float(number), _) => Ok(Value::Float(number.abs())),
        (_, Some(number)) => Ok(Value::Int(number.saturating_abs())),
        _ => fault!("`abs` needs a number, not {}", value.type_name()),
    }
}

/// The whole number that a float is cut off to; None if there is none.
fn truncated(value: f64) -> Option<i128> {
    (value.is_finite() && value.abs() < 1e38).then_some(value as i128)
}

pub(super) fn int(_: &mut Interpreter<'_>, value: &Value, given: Given) -> Result {
    let [default, base] = given.bind("int", ["default", "base"], 0)?;
    let base = base.map_or(Ok(10), |base| int_argument(&base, "int", "base"))?;
    let base = u32::try_from(base).unwrap_or(1);
    let number = match value {
        Value::Undefined(reason) => return fault!("{reason}"),
        Value::Str(text) => parse_int(text, base).or_else(|| truncated(parse_float(text)?)),
        Value::Float(number) => truncated(*number),
        other => other.as_int(),
    };
    Ok(number.map_or_else(|| default.unwrap_or(Value::Int(0)), Value::Int))
}

pub(super) fn float(_: &mut Interpreter<'_>, value: &Value, given: Given) -> Result {
    let [default] = given.bind("float", ["default"], 0)?;
    let number = match value {
        Value::Undefined(reason) => return fault!("{reason}"),
        Value::Str(text) => parse_float(text),
        other => other.as_float(),
    };
    Ok(number.map_or_else(|| default.unwrap_or(Value::Float(0.0)), Value::Float))
}

pub(super) fn round(run: &mut Interpreter<'_>, value: &Value, given: Given) -> Result {
    let [precision, method] = given.bind("round", ["precision", "method"], 0)?;
    let precision = precision.map_or(Ok(0), |precision| int_argument(&precision, "round", "precision"))?;
    let method = method.map_or(Ok("common".to_owned()), |method| run.text(&method))?;
    let Some(number) = value.as_float() else {
        return fault!("`round` needs a number, not {}", value.type_name());
    };
    let scale = 10f64.powi(i32::try_from(precision).unwrap_or(i32::MAX));
    match (method.as_str(), value.as_int()) {
        ("common", Some(whole)) => Ok(Value::Int(round_int(whole, precision))),
        ("common", None) => Ok(Value::Float(round_float(number, precision))),
        ("ceil", _) => Ok(Value::Float((number * scale).ceil() / scale)),
        ("floor", _) => Ok(Value::Float((number * scale).floor() / scale)),
        _ => fault!("`round` has the methods common, ceil and floor"),
    }
}

pub(super) fn filesizeformat(run: &mut Interpreter<'_>, value: &Value, given: Given) -> Result {
    let [binary] = given.bind("filesizeformat", ["binary"], 0)?;
    let binary = binary.is_some_and(|binary| binary.is_true());
    let number = match value {
        Value::Str(text) => parse_float(text),
        other => other.as_float(),
    };
    let Some(size) = number else {
        return fault!("`filesizeformat` needs a number, not {}", value.type_name());
    };
    let base: f64 = if binary { 1024.0 } else { 1000.0 };
    if size == 1.0 {
        return Ok(Value::str("1 Byte"));
    }
    if size < base {
        return Ok(Value::str(format!("{} Bytes", size.trunc())));
    }
    let units = if binary {
        ["KiB", "MiB", "GiB", "TiB", "PiB", "EiB", "ZiB", "YiB"]
    } else {
        ["kB", "MB", "GB", "TB", "PB", "EB", "ZB", "YB"]
    };
    run.budget.steps(units.len())?;
    for (index, unit) in units.iter().enumerate() {
        let limit = base.powi(index as i32 + 2);
        if size < limit || index + 1 == units.len() {
            return Ok(Value::str(format!("{:.1} {unit}", base * size / limit)));
        }
    }
    Ok(value.clone())
}
