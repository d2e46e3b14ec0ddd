//! What kinds of values a column has, from which follows its type in a Parquet file.

use std::sync::Arc;

use arrow_schema::{DataType, Field, Fields};
use serde_json::value::RawValue;

use super::super::row::Row;

/// Deepest nesting that becomes lists and structs.
const MAX_DEPTH: usize = 32;
/// Integers up to this one have a float of their own.
const MAX_SAFE: i64 = 1 << 53;

/// The values of a column, or of a part of it.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Kind {
    /// Nothing but null.
    Null,
    Bool,
    Int {
        has_negative: bool,
        /// Whether all are floats, too.
        is_safe: bool,
    },
    /// Integers above those of [`Kind::Int`].
    Unsigned,
    Float,
    Text,
    List(Box<Kind>),
    Struct(Vec<(String, Kind)>),
    /// Several kinds, or what no type holds digit by digit: written as JSON.
    Json,
}

impl Kind {
    /// The kind of a JSON value.
    pub(super) fn from_json(json: &str) -> Self {
        Self::from_nested(json, 0)
    }

    fn from_nested(json: &str, depth: usize) -> Self {
        if depth > MAX_DEPTH {
            return Self::Json;
        }
        match json.as_bytes().first() {
            Some(b'n') => Self::Null,
            Some(b't' | b'f') => Self::Bool,
            // A text may be half of a surrogate pair, which other formats cannot hold.
            Some(b'"') if serde_json::from_str::<String>(json).is_ok() => Self::Text,
            Some(b'[') => {
                let Ok(items) = serde_json::from_str::<Vec<Box<RawValue>>>(json) else { return Self::Json };
                let mut kind = Self::Null;
                for item in items {
                    kind = kind.merge(Self::from_nested(item.get(), depth + 1));
                }
                Self::List(Box::new(kind))
            }
            Some(b'{') => {
                let Ok(row) = Row::parse(json) else { return Self::Json };
                let field = |(name, cell): (&str, &super::super::row::Cell)| {
                    (name.to_owned(), Self::from_nested(cell.json(), depth + 1))
                };
                Self::Struct(row.columns().map(field).collect())
            }
            Some(b'"') | None => Self::Json,
            Some(_) => Self::from_number(json),
        }
    }

    fn from_number(digits: &str) -> Self {
        if !digits.contains(['.', 'e', 'E']) && digits != "-0" {
            if let Ok(number) = digits.parse::<i64>() {
                let is_safe = (-MAX_SAFE..=MAX_SAFE).contains(&number);
                return Self::Int { has_negative: number < 0, is_safe };
            }
            return if digits.parse::<u64>().is_ok() { Self::Unsigned } else { Self::Json };
        }
        match digits.parse::<f64>() {
            Ok(number)
                if number.is_finite() && significant(digits) == significant(&format!("{number:e}")) =>
            {
                Self::Float
            }
            _ => Self::Json,
        }
    }

    /// The kind of values of either kind.
    pub(super) fn merge(self, other: Self) -> Self {
        match (self, other) {
            (Self::Null, kind) | (kind, Self::Null) => kind,
            (Self::Int { has_negative: a, is_safe: b }, Self::Int { has_negative: c, is_safe: d }) => {
                Self::Int { has_negative: a || c, is_safe: b && d }
            }
            (Self::Int { has_negative: false, .. }, Self::Unsigned)
            | (Self::Unsigned, Self::Int { has_negative: false, .. }) => Self::Unsigned,
            (Self::Int { is_safe: true, .. }, Self::Float)
            | (Self::Float, Self::Int { is_safe: true, .. }) => Self::Float,
            (Self::List(a), Self::List(b)) => Self::List(Box::new(a.merge(*b))),
            (Self::Struct(a), Self::Struct(b)) => Self::Struct(merge_fields(a, b)),
            (a, b) if a == b => a,
            _ => Self::Json,
        }
    }

    /// The type that holds the values as they are; `None` if they must be written as JSON.
    pub(super) fn data_type(&self) -> Option<DataType> {
        Some(match self {
            // A reader knows what to do with texts, and less so with a type that has no values.
            Self::Null | Self::Text => DataType::Utf8,
            Self::Bool => DataType::Boolean,
            Self::Int { .. } => DataType::Int64,
            Self::Unsigned => DataType::UInt64,
            Self::Float => DataType::Float64,
            Self::List(items) => DataType::List(Arc::new(Field::new("item", items.data_type()?, true))),
            Self::Struct(fields) if !fields.is_empty() => {
                let mut typed = Vec::with_capacity(fields.len());
                for (name, kind) in fields {
                    typed.push(Field::new(name, kind.data_type()?, true));
                }
                DataType::Struct(Fields::from(typed))
            }
            Self::Struct(_) | Self::Json => return None,
        })
    }
}

fn merge_fields(mut fields: Vec<(String, Kind)>, others: Vec<(String, Kind)>) -> Vec<(String, Kind)> {
    for (name, kind) in others {
        match fields.iter_mut().find(|(known, _)| *known == name) {
            Some((_, merged)) => *merged = std::mem::replace(merged, Kind::Null).merge(kind),
            None => fields.push((name, kind)),
        }
    }
    fields
}

/// The significant digits of a number, and the power of ten of the first.
pub(super) fn significant(number: &str) -> (String, i64) {
    let (mantissa, exponent) = number.split_once(['e', 'E']).unwrap_or((number, "0"));
    let exponent: i64 = exponent.parse().unwrap_or(i64::MAX / 2);
    let mantissa = mantissa.trim_start_matches('-');
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let digits = format!("{whole}{fraction}");
    let significant = digits.trim_start_matches('0');
    if significant.is_empty() {
        return (String::new(), 0);
    }
    let zeros = (digits.len() - significant.len()) as i64;
    (significant.trim_end_matches('0').to_owned(), exponent + whole.len() as i64 - 1 - zeros)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn merged(values: &[&str]) -> Option<DataType> {
        values.iter().map(|json| Kind::from_json(json)).fold(Kind::Null, Kind::merge).data_type()
    }

    #[test]
    fn values_have_the_type_that_holds_every_digit() {
        for (values, expected) in [
            (&["1", "-9223372036854775808", "null"][..], Some(DataType::Int64)),
            (&["1", "18446744073709551615"], Some(DataType::UInt64)),
            (&["-1", "18446744073709551615"], None),
            (&["18446744073709551616"], None),
            (&["1", "1.10", "1e3", "-0"], Some(DataType::Float64)),
            (&["9007199254740993", "1.5"], None),
            (&["0.1000000000000000055511151231257827"], None),
            (&["1e400"], None),
            (&["true", "null"], Some(DataType::Boolean)),
            (&["\"a\"", "null"], Some(DataType::Utf8)),
            (&["\"\\ud800\""], None),
            (&["null"], Some(DataType::Utf8)),
            (&["1", "\"a\""], None),
            (&["{}"], None),
            (&["[{}]"], None),
            (&["[1]", "1"], None),
        ] {
            assert_eq!(merged(values), expected, "{values:?}");
        }
        let list = |item| Some(DataType::List(Arc::new(Field::new("item", item, true))));
        assert_eq!(merged(&["[]", "[1, null]"]), list(DataType::Int64));
        assert_eq!(merged(&["[]"]), list(DataType::Utf8));
        let fields = [Field::new("a", DataType::Int64, true), Field::new("b", DataType::Utf8, true)];
        assert_eq!(
            merged(&["{\"a\":1}", "{\"b\":\"x\"}"]),
            Some(DataType::Struct(fields.into_iter().collect()))
        );
        assert_eq!(merged(&[&"[".repeat(100_000)]), None);
    }
}
