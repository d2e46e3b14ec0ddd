//! Finds keys that a JSON object has twice. Parsers keep the last of them, which loses a part of what was asked.

use std::collections::HashSet;
use std::fmt::{self, Write};

use serde::de::{DeserializeSeed, Deserializer, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};

/// The path of the first key that an object of a JSON text has twice.
pub(super) fn repeated_key(json: &[u8]) -> Option<String> {
    let (mut path, mut found) = (String::new(), false);
    let keys = Keys { path: &mut path, found: &mut found };
    // The text was parsed before, so it has no other mistakes.
    let _ = keys.deserialize(&mut serde_json::Deserializer::from_slice(json));
    found.then_some(path)
}

/// Looks for the key in the value at a path, which becomes that of the key.
struct Keys<'f> {
    path: &'f mut String,
    found: &'f mut bool,
}

impl Keys<'_> {
    /// The same for a value below this one, at the path that ends with `last`.
    fn below(&mut self, last: fmt::Arguments<'_>) -> Keys<'_> {
        // Writing to a String cannot fail.
        let _ = self.path.write_fmt(last);
        Keys { path: self.path, found: self.found }
    }

    /// Returns from a value below to this one, whose path has `length` bytes, unless the key was found.
    fn leave(&mut self, length: usize) {
        if !*self.found {
            self.path.truncate(length);
        }
    }
}

impl<'de> DeserializeSeed<'de> for Keys<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Keys<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_unit<E: Error>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_bool<E: Error>(self, _: bool) -> Result<(), E> {
        Ok(())
    }

    fn visit_i64<E: Error>(self, _: i64) -> Result<(), E> {
        Ok(())
    }

    fn visit_u64<E: Error>(self, _: u64) -> Result<(), E> {
        Ok(())
    }

    fn visit_f64<E: Error>(self, _: f64) -> Result<(), E> {
        Ok(())
    }

    fn visit_str<E: Error>(self, _: &str) -> Result<(), E> {
        Ok(())
    }

    fn visit_seq<S: SeqAccess<'de>>(mut self, mut list: S) -> Result<(), S::Error> {
        let length = self.path.len();
        let mut index = 0;
        while !*self.found {
            let has_more = list.next_element_seed(self.below(format_args!("[{index}]")))?.is_some();
            self.leave(length);
            if !has_more {
                return Ok(());
            }
            index += 1;
        }
        while list.next_element::<IgnoredAny>()?.is_some() {}
        Ok(())
    }

    fn visit_map<M: MapAccess<'de>>(mut self, mut map: M) -> Result<(), M::Error> {
        let length = self.path.len();
        let dot = if length == 0 { "" } else { "." };
        let mut keys = HashSet::new();
        while let Some(key) = map.next_key::<String>()? {
            if *self.found {
                map.next_value::<IgnoredAny>()?;
                continue;
            }
            let value = self.below(format_args!("{dot}{key}"));
            if keys.insert(key) {
                map.next_value_seed(value)?;
            } else {
                *value.found = true;
                map.next_value::<IgnoredAny>()?;
            }
            self.leave(length);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_repeated_key_is_found_wherever_it_is() {
        let found = |json: &str| repeated_key(json.as_bytes());
        assert_eq!(found(r#"{"a": [1, -2, 1.5, null, true, "x"], "b": {"a": 1}}"#), None);
        assert_eq!(found(r#"{"a": 1, "b": [{}, {"x": {"y": 1, "y": 2}}], "b": 1}"#).unwrap(), "b[1].x.y");
        assert_eq!(found(r#"{"a": 1, "\u0061": [1, {"b": 1, "b": 1}]}"#).unwrap(), "a");
        assert_eq!(found("[1, 2").as_deref(), None);
    }
}
