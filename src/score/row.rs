//! One row of a file. A column keeps the text of its JSON value, so that what comes in goes out digit by digit:
//! a parsed number would lose the digits of large ids and the zero of `1.10`.

use std::fmt;

use serde::de::{Deserialize, Deserializer, Error, MapAccess, Visitor};
use serde::ser::{Serialize, SerializeMap, Serializer};
use serde_json::Value;
use serde_json::value::RawValue;

use crate::manifest::unique_keys::{self, ParseError};

/// One row of a file: its columns in their order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Row {
    columns: Vec<(String, Cell)>,
}

/// The value of a column, as JSON text without spaces around it and without line ends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cell(Box<str>);

impl Cell {
    /// A text.
    pub fn text(text: &str) -> Self {
        Self::from(&Value::from(text))
    }

    /// A column without a value.
    pub fn null() -> Self {
        Self("null".into())
    }

    /// JSON text that is known to be valid.
    pub(super) fn from_json(json: String) -> Self {
        Self(if has_space(&json) { compact(&json) } else { json }.into())
    }

    /// The JSON text.
    pub fn json(&self) -> &str {
        &self.0
    }

    /// Whether there is no value.
    pub fn is_null(&self) -> bool {
        &*self.0 == "null"
    }

    /// The parsed value; null if it is nested too deeply to be parsed.
    pub fn value(&self) -> Value {
        serde_json::from_str(&self.0).unwrap_or_default()
    }

    /// The number; `None` if it is something else.
    pub(super) fn as_f64(&self) -> Option<f64> {
        let starts_like_a_number = self.0.starts_with(|first: char| first == '-' || first.is_ascii_digit());
        if starts_like_a_number { serde_json::from_str(&self.0).ok() } else { None }
    }

    /// The number, or the one that a text spells, if it is finite.
    pub(super) fn number(&self) -> Option<f64> {
        let text = || self.as_text()?.trim().parse().ok();
        self.as_f64().or_else(text).filter(|number: &f64| number.is_finite())
    }

    /// The text; `None` if it is something else.
    pub(super) fn as_text(&self) -> Option<String> {
        if self.0.starts_with('"') { serde_json::from_str(&self.0).ok() } else { None }
    }

    /// The list; `None` if it is something else.
    pub(super) fn as_list(&self) -> Option<Vec<Value>> {
        if self.0.starts_with('[') { serde_json::from_str(&self.0).ok() } else { None }
    }
}

impl From<&Value> for Cell {
    fn from(value: &Value) -> Self {
        Self(value.to_string().into())
    }
}

/// Whether there may be a space outside of texts: no serializer but a pretty one writes those.
fn has_space(json: &str) -> bool {
    json.bytes().any(|byte| matches!(byte, b' ' | b'\n' | b'\r' | b'\t'))
}

/// JSON text without the spaces and line ends outside of its texts.
fn compact(json: &str) -> String {
    let mut kept = String::with_capacity(json.len());
    let (mut in_text, mut escaped) = (false, false);
    for character in json.chars() {
        if in_text {
            in_text = escaped || character != '"';
            escaped = character == '\\' && !escaped;
        } else if matches!(character, ' ' | '\n' | '\r' | '\t') {
            continue;
        } else {
            in_text = character == '"';
        }
        kept.push(character);
    }
    kept
}

impl Row {
    /// Parses an object.
    ///
    /// # Errors
    /// It is not one.
    pub fn parse(json: &str) -> serde_json::Result<Self> {
        serde_json::from_str(json)
    }

    /// The object on one line.
    pub fn json(&self) -> String {
        let mut json = String::from("{");
        for (index, (name, cell)) in self.columns.iter().enumerate() {
            if index > 0 {
                json.push(',');
            }
            json.push_str(Cell::text(name).json());
            json.push(':');
            json.push_str(cell.json());
        }
        json.push('}');
        json
    }

    /// The value of a column.
    pub fn get(&self, name: &str) -> Option<&Cell> {
        self.columns.iter().find(|(column, _)| column == name).map(|(_, cell)| cell)
    }

    /// Whether there is a column of this name.
    pub fn contains(&self, name: &str) -> bool {
        self.get(name).is_some()
    }

    /// Sets a column, which keeps its place if it exists, and is the last if it does not.
    pub fn set(&mut self, name: &str, cell: Cell) {
        match self.columns.iter_mut().find(|(column, _)| column == name) {
            Some((_, old)) => *old = cell,
            None => self.columns.push((name.to_owned(), cell)),
        }
    }

    /// Adds a column that does not exist.
    pub(super) fn push(&mut self, name: String, cell: Cell) {
        self.columns.push((name, cell));
    }

    /// The columns in their order.
    pub fn columns(&self) -> impl ExactSizeIterator<Item = (&str, &Cell)> + Clone {
        self.columns.iter().map(|(name, cell)| (name.as_str(), cell))
    }

    /// The names of the columns in their order.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.columns.iter().map(|(name, _)| name.as_str())
    }

    /// Takes the columns out.
    pub(super) fn into_columns(self) -> Vec<(String, Cell)> {
        self.columns
    }

    /// Number of columns.
    pub fn len(&self) -> usize {
        self.columns.len()
    }

    /// Whether there are no columns.
    pub fn is_empty(&self) -> bool {
        self.columns.is_empty()
    }
}

impl FromIterator<(String, Cell)> for Row {
    fn from_iter<T: IntoIterator<Item = (String, Cell)>>(columns: T) -> Self {
        Self { columns: columns.into_iter().collect() }
    }
}

impl Serialize for Row {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(self.columns.len()))?;
        for (name, cell) in self.columns() {
            let raw: &RawValue = serde_json::from_str(cell.json()).map_err(serde::ser::Error::custom)?;
            map.serialize_entry(name, raw)?;
        }
        map.end()
    }
}

impl<'de> Deserialize<'de> for Row {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(RowVisitor)
    }
}

struct RowVisitor;

impl<'de> Visitor<'de> for RowVisitor {
    type Value = Row;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Row, A::Error> {
        let mut row = Row::default();
        while let Some((name, raw)) = map.next_entry::<String, Box<RawValue>>()? {
            let cell = Cell::from_json(String::from(Box::<str>::from(raw)));
            if let Some(path) = repeated_key(&row, &name, &cell) {
                return Err(A::Error::custom(format_args!("the key `{path}` appears twice; leave one out")));
            }
            row.push(name, cell);
        }
        Ok(row)
    }
}

/// The path of a key that a row has twice if the column is added to it. Other parsers would keep the first or the last of
/// the two values, and lose the other.
fn repeated_key(row: &Row, name: &str, cell: &Cell) -> Option<String> {
    if row.contains(name) {
        return Some(name.to_owned());
    }
    if !cell.0.starts_with(['{', '[']) {
        return None;
    }
    match unique_keys::parse(cell.0.as_bytes()) {
        Err(ParseError::RepeatedKey(path)) => {
            let dot = if path.starts_with('[') { "" } else { "." };
            Some(format!("{name}{dot}{path}"))
        }
        // A value that is nested too deeply is refused where it is read.
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_digit_of_a_number_survives() {
        let json =
            r#"{"id":12345678901234567890123,"price":1.10,"e":1E+2,"u":18446744073709551615,"z":-0.0}"#;
        assert_eq!(Row::parse(json).unwrap().json(), json);
    }

    #[test]
    fn a_row_is_one_line_whatever_it_was_printed_like() {
        let row = Row::parse("{ \"a\" : [ 1 ,\n 2 ], \"b\": \"x \\\" y\\n\", \"c\": {\"d\" : \" \\\\\" } }")
            .unwrap();
        assert_eq!(row.json(), "{\"a\":[1,2],\"b\":\"x \\\" y\\n\",\"c\":{\"d\":\" \\\\\"}}");
    }

    #[test]
    fn a_key_that_is_there_twice_is_refused_wherever_it_is() {
        for (json, path) in [
            (r#"{"a":1,"b":2,"a":3}"#, "a"),
            (r#"{"a":1,"\u0061":1}"#, "a"),
            (r#"{"m":[{"role":"user"},{"content":"x","content":"y"}]}"#, "m[1].content"),
            (r#"{"q":{"text":"x","text":"y"}}"#, "q.text"),
        ] {
            let error = Row::parse(json).unwrap_err().to_string();
            assert!(error.starts_with(&format!("the key `{path}` appears twice")), "{error}");
        }
        assert!(Row::parse(r#"{"a":{"a":1},"b":[{"a":1},{"a":1}]}"#).is_ok());
        assert!(Row::parse("[1]").is_err());
    }
}
