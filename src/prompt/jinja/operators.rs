//! Arithmetic and comparisons, as in Python.

use std::cmp::Ordering;

use super::ast::{Comparison, Operator};
use super::fault::{Fault, fault};
use super::interpreter::Interpreter;
use super::value::{Value, View};

impl Interpreter<'_> {
    pub(super) fn binary(&mut self, operator: Operator, left: &Value, right: &Value) -> Result<Value, Fault> {
        match (operator, left, right) {
            (_, Value::Undefined(reason), _) => {
                fault!("{reason}, so it cannot be used with `{}`", operator.sign())
            }
            (Operator::Mod, Value::Str(format), _) => {
                let format = format.clone();
                self.percent_format(&format, right).map(Value::str)
            }
            (_, _, Value::Undefined(reason)) => {
                fault!("{reason}, so it cannot be used with `{}`", operator.sign())
            }
            (Operator::Add, Value::Str(first), Value::Str(second)) => {
                self.budget.bytes(first.len() + second.len())?;
                Ok(Value::str([&**first, &**second].concat()))
            }
            (Operator::Add, Value::List(first), Value::List(second)) => {
                self.budget.items(first.items.len() + second.items.len())?;
                Value::list([first.items.as_slice(), &second.items].concat())
            }
            (Operator::Add, Value::Tuple(first), Value::Tuple(second)) => {
                self.budget.items(first.items.len() + second.items.len())?;
                Value::tuple([first.items.as_slice(), &second.items].concat())
            }
            (Operator::Mul, Value::Str(_) | Value::List(_) | Value::Tuple(_), count)
                if count.as_int().is_some() =>
            {
                self.repeat(left, count.as_int().unwrap_or(0))
            }
            (Operator::Mul, count, Value::Str(_) | Value::List(_) | Value::Tuple(_))
                if count.as_int().is_some() =>
            {
                self.repeat(right, count.as_int().unwrap_or(0))
            }
            (Operator::Sub, Value::View(View::Keys, first), _) => {
                let others = self.collect(right)?;
                let kept = first
                    .keys()
                    .filter(|key| !others.iter().any(|other| other.equals(key)))
                    .cloned()
                    .collect();
                Value::list(kept)
            }
            _ => arithmetic(operator, left, right),
        }
    }

    fn repeat(&mut self, value: &Value, count: i128) -> Result<Value, Fault> {
        let count = usize::try_from(count.max(0)).unwrap_or(usize::MAX);
        match value {
            Value::Str(text) => {
                self.budget.bytes(text.len().saturating_mul(count))?;
                Ok(Value::str(text.repeat(count)))
            }
            Value::List(list) | Value::Tuple(list) => {
                self.budget.items(list.items.len().saturating_mul(count))?;
                let items = list.items.iter().cycle().take(list.items.len() * count).cloned().collect();
                if matches!(value, Value::List(_)) { Value::list(items) } else { Value::tuple(items) }
            }
            other => fault!("a {} cannot be repeated", other.type_name()),
        }
    }

    pub(super) fn compare(
        &mut self,
        comparison: Comparison,
        left: &Value,
        right: &Value,
    ) -> Result<bool, Fault> {
        self.budget.steps(left.len().unwrap_or(0).min(right.len().unwrap_or(0)) / 64)?;
        let (sign, wanted): (&str, fn(Ordering) -> bool) = match comparison {
            Comparison::Eq => return Ok(left.equals(right)),
            Comparison::Ne => return Ok(!left.equals(right)),
            Comparison::In => return self.contains(right, left),
            Comparison::NotIn => return Ok(!self.contains(right, left)?),
            Comparison::Lt => ("<", Ordering::is_lt),
            Comparison::Le => ("<=", Ordering::is_le),
            Comparison::Gt => (">", Ordering::is_gt),
            Comparison::Ge => (">=", Ordering::is_ge),
        };
        Ok(left.compare(right, sign)?.is_some_and(wanted))
    }

    /// `item in container`.
    pub(super) fn contains(&mut self, container: &Value, item: &Value) -> Result<bool, Fault> {
        match container {
            Value::Str(text) => match item {
                Value::Str(part) => {
                    self.budget.steps(text.len() / 64)?;
                    Ok(text.contains(&**part))
                }
                Value::Undefined(reason) => fault!("{reason}"),
                other => fault!("a text can contain a text, not {}", other.type_name()),
            },
            Value::Dict(dict) | Value::View(View::Keys, dict) => {
                item.key()?;
                Ok(dict.get(item).is_some())
            }
            Value::List(list) | Value::Tuple(list) => {
                self.budget.steps(list.items.len())?;
                Ok(list.items.iter().any(|other| other.equals(item)))
            }
            other => Ok(self.collect(other)?.iter().any(|other| other.equals(item))),
        }
    }
}

/// `left % right` of numbers.
///
/// # Errors
/// One is not a number, or the right one is 0.
pub(super) fn remainder(left: &Value, right: &Value) -> Result<Value, Fault> {
    if let Value::Undefined(reason) = left {
        return fault!("{reason}");
    }
    arithmetic(Operator::Mod, left, right)
}

fn arithmetic(operator: Operator, left: &Value, right: &Value) -> Result<Value, Fault> {
    if let (Some(left), Some(right)) = (left.as_int(), right.as_int()) {
        return int_arithmetic(operator, left, right);
    }
    let (Some(x), Some(y)) = (left.as_float(), right.as_float()) else {
        return fault!("`{}` cannot join {} and {}", operator.sign(), left.type_name(), right.type_name());
    };
    float_arithmetic(operator, x, y).map(Value::Float)
}

fn int_arithmetic(operator: Operator, left: i128, right: i128) -> Result<Value, Fault> {
    let result = match operator {
        Operator::Add => left.checked_add(right),
        Operator::Sub => left.checked_sub(right),
        Operator::Mul => left.checked_mul(right),
        Operator::Div => return float_arithmetic(operator, left as f64, right as f64).map(Value::Float),
        Operator::Pow if right < 0 => {
            return float_arithmetic(operator, left as f64, right as f64).map(Value::Float);
        }
        Operator::Pow => u32::try_from(right).ok().and_then(|power| match left {
            0 | 1 => Some(if power == 0 { 1 } else { left }),
            -1 => Some(if power % 2 == 0 { 1 } else { -1 }),
            _ => left.checked_pow(power),
        }),
        Operator::FloorDiv | Operator::Mod if right == 0 => {
            return fault!("a number cannot be divided by zero");
        }
        Operator::FloorDiv => {
            let (quotient, remainder) = (left.checked_div(right), left.checked_rem(right));
            quotient.zip(remainder).map(|(q, r)| if r != 0 && (r < 0) != (right < 0) { q - 1 } else { q })
        }
        Operator::Mod => {
            left.checked_rem(right).map(|r| if r != 0 && (r < 0) != (right < 0) { r + right } else { r })
        }
    };
    match result {
        Some(result) => Ok(Value::Int(result)),
        None => fault!("`{}` gives a number of more than 128 bits", operator.sign()),
    }
}

fn float_arithmetic(operator: Operator, left: f64, right: f64) -> Result<f64, Fault> {
    if right == 0.0 && matches!(operator, Operator::Div | Operator::FloorDiv | Operator::Mod) {
        return fault!("a number cannot be divided by zero");
    }
    Ok(match operator {
        Operator::Add => left + right,
        Operator::Sub => left - right,
        Operator::Mul => left * right,
        Operator::Div => left / right,
        Operator::Mod => float_mod(left, right),
        Operator::FloorDiv => {
            let quotient = (left - float_mod(left, right)) / right;
            let floor = quotient.floor();
            if quotient - floor > 0.5 { floor + 1.0 } else { floor }
        }
        Operator::Pow if left == 0.0 && right < 0.0 => return fault!("zero cannot have a negative power"),
        Operator::Pow if left < 0.0 && right.fract() != 0.0 => {
            return fault!("a negative number cannot have a power that is not whole");
        }
        Operator::Pow => {
            let power = left.powf(right);
            if power.is_infinite() && left.is_finite() && right.is_finite() {
                return fault!("`**` gives a number that is too large");
            }
            power
        }
    })
}

/// The remainder that has the divisor's sign.
fn float_mod(left: f64, right: f64) -> f64 {
    let remainder = left % right;
    if remainder == 0.0 {
        remainder.copysign(right)
    } else if (remainder < 0.0) != (right < 0.0) {
        remainder + right
    } else {
        remainder
    }
}

pub(super) fn negative(value: &Value) -> Result<Value, Fault> {
    match (value, value.as_int()) {
        (Value::Undefined(reason), _) => fault!("{reason}"),
        (Value::Float(value), _) => Ok(Value::Float(-value)),
        (_, Some(value)) => Ok(Value::Int(value.saturating_neg())),
        _ => fault!("`-` needs a number, not {}", value.type_name()),
    }
}

pub(super) fn positive(value: &Value) -> Result<Value, Fault> {
    match (value, value.as_int()) {
        (Value::Undefined(reason), _) => fault!("{reason}"),
        (Value::Float(value), _) => Ok(Value::Float(*value)),
        (_, Some(value)) => Ok(Value::Int(value)),
        _ => fault!("`+` needs a number, not {}", value.type_name()),
    }
}
