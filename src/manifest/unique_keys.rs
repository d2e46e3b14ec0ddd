//! Parses JSON, and refuses an object that has a key twice. Most parsers keep the last of the two, which silently loses a
//! part of what was sent.

use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use serde_json::map::Entry;
use serde_json::{Map, Number, Value};

/// Why a text is not a value.
#[derive(Debug)]
pub(crate) enum ParseError {
    Malformed(serde_json::Error),
    /// An object has the key at this path twice.
    RepeatedKey(String),
}

/// Parses a JSON text.
///
/// # Errors
/// It is not JSON, or an object in it has a key twice.
pub(crate) fn parse(json: &[u8]) -> Result<Value, ParseError> {
    let mut repeated = Vec::new();
    let mut deserializer = serde_json::Deserializer::from_slice(json);
    let value = Node { repeated: &mut repeated }.deserialize(&mut deserializer);
    match value.and_then(|value| deserializer.end().map(|()| value)) {
        Ok(value) => Ok(value),
        Err(error) if repeated.is_empty() => Err(ParseError::Malformed(error)),
        Err(_) => Err(ParseError::RepeatedKey(joined(&repeated))),
    }
}

/// Reads a value.
struct Node<'p> {
    /// The way from a repeated key up to this value; empty if no key is repeated.
    repeated: &'p mut Vec<Step>,
}

/// A step of a path.
enum Step {
    Key(String),
    Index(usize),
}

impl Node<'_> {
    /// The same for a value in this one.
    fn below(&mut self) -> Node<'_> {
        Node { repeated: self.repeated }
    }

    /// Adds a step to the way up from a repeated key, if one was found.
    fn climb(&mut self, step: impl FnOnce() -> Step) {
        if !self.repeated.is_empty() {
            self.repeated.push(step());
        }
    }
}

/// The path whose last step comes first.
fn joined(steps: &[Step]) -> String {
    let mut path = String::new();
    for step in steps.iter().rev() {
        match step {
            Step::Index(index) => path += &format!("[{index}]"),
            Step::Key(key) => {
                let dot = if path.is_empty() { "" } else { "." };
                path += dot;
                path += key;
            }
        }
    }
    path
}

impl<'de> DeserializeSeed<'de> for Node<'_> {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Node<'_> {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any valid JSON value")
    }

    fn visit_unit<E: Error>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E: Error>(self, value: bool) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<Value, E> {
        Ok(Number::from_f64(value).map_or(Value::Null, Value::Number))
    }

    fn visit_str<E: Error>(self, value: &str) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_string<E: Error>(self, value: String) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_seq<S: SeqAccess<'de>>(mut self, mut list: S) -> Result<Value, S::Error> {
        let mut values = Vec::new();
        loop {
            match list.next_element_seed(self.below()) {
                Ok(Some(value)) => values.push(value),
                Ok(None) => return Ok(values.into()),
                Err(error) => {
                    self.climb(|| Step::Index(values.len()));
                    return Err(error);
                }
            }
        }
    }

    fn visit_map<M: MapAccess<'de>>(mut self, mut map: M) -> Result<Value, M::Error> {
        let mut fields = Map::new();
        while let Some(key) = map.next_key::<String>()? {
            match fields.entry(key) {
                Entry::Occupied(entry) => {
                    self.repeated.push(Step::Key(entry.key().clone()));
                    return Err(M::Error::custom("a key appears twice"));
                }
                Entry::Vacant(entry) => match map.next_value_seed(self.below()) {
                    Ok(value) => {
                        entry.insert(value);
                    }
                    Err(error) => {
                        self.climb(|| Step::Key(entry.key().clone()));
                        return Err(error);
                    }
                },
            }
        }
        Ok(fields.into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_repeated_key_is_found_wherever_it_is() {
        let found = |json: &str| match parse(json.as_bytes()) {
            Err(ParseError::RepeatedKey(path)) => path,
            other => panic!("{json}: {other:?}"),
        };
        assert_eq!(found(r#"{"a": 1, "b": [{}, {"x": {"y": 1, "y": 2}}], "b": 1}"#), "b[1].x.y");
        assert_eq!(found(r#"{"a": 1, "\u0061": [1, {"b": 1, "b": 1}]}"#), "a");
        assert_eq!(found(r#"[[1, {"a": null, "a": null"#), "[0][1].a");
    }

    #[test]
    fn other_texts_are_read_as_serde_json_reads_them() {
        let number = r#"[0, -0, -0.0, 1e300, 1e-400, 18446744073709551615, 18446744073709551616, 1.10]"#;
        for json in [r#"{"a": [1, -2, 1.5, null, true, "x"], "b": {"a": "\ud83d\ude00"}}"#, number, "null"] {
            let expected: Value = serde_json::from_str(json).unwrap();
            assert_eq!(parse(json.as_bytes()).unwrap(), expected);
        }
        let deep = "[".repeat(1000);
        for json in ["[1, 2", "{\"a\": NaN}", "1 2", "", &deep, "1e400", "{\"a\" 1}", "\"\u{1}\""] {
            let Err(ParseError::Malformed(error)) = parse(json.as_bytes()) else { panic!("{json}") };
            assert_eq!(error.to_string(), serde_json::from_str::<Value>(json).unwrap_err().to_string());
        }
    }
}
