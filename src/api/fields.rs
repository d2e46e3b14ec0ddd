//! A JSON object read field by field, so that every error names the field that it is about.

mod values;

use serde_json::{Map, Value};

pub(super) use self::values::{Field, wrong_type};
use super::error::ApiError;
use crate::manifest::unique_keys::{self, ParseError};
pub(super) use crate::manifest::wording::nearest;
use crate::manifest::wording::{self, LONGEST_NAME, kind};

/// Fields of requests that only `POST /v1/rewards` takes, and that are known by their names.
const REWARDS_ONLY: [&str; 3] = ["rubric", "principle", "compare"];

/// Fields of requests that have the text to be read. A route takes those of one format.
const TEXTS: [&str; 10] = [
    "conversations",
    "documents",
    "input",
    "input_ids",
    "inputs",
    "messages",
    "prompt",
    "query",
    "text",
    "texts",
];

/// The fields of an object. Each is taken out as it is read; those left at the end are unknown.
pub(super) struct Fields {
    path: String,
    map: Map<String, Value>,
    /// The names that were asked for, whether or not they were there.
    known: Vec<&'static str>,
    /// The field of [`TEXTS`] that was taken out.
    text: Option<&'static str>,
}

impl Fields {
    fn new(path: String, map: Map<String, Value>) -> Self {
        Self { path, map, known: Vec::new(), text: None }
    }

    /// Reads a request body.
    ///
    /// # Errors
    /// It is not JSON, or not an object, or an object in it has a key twice.
    pub(super) fn parse(body: &[u8]) -> Result<Self, ApiError> {
        match unique_keys::parse(body) {
            Ok(Value::Object(map)) => Ok(Self::new(String::new(), map)),
            Ok(other) => Err(not_an_object(&other)),
            Err(ParseError::Malformed(error)) => Err(ApiError::malformed_json(body, &error)),
            Err(ParseError::RepeatedKey(path)) => {
                Err(ApiError::invalid(path, "appears twice; leave one out"))
            }
        }
    }

    /// Reads the object at `path` of a request.
    ///
    /// # Errors
    /// It is not an object.
    pub(super) fn from_value(path: String, value: Value) -> Result<Self, ApiError> {
        match value {
            Value::Object(map) => Ok(Self::new(path, map)),
            other => Err(wrong_type(path, "an object", &other)),
        }
    }

    /// The path of a field from the root of the request.
    pub(super) fn path(&self, name: &str) -> String {
        if self.path.is_empty() { name.to_owned() } else { format!("{}.{name}", self.path) }
    }

    /// Takes a field out. One that is null counts as absent, as in OpenAI's API.
    ///
    /// # Errors
    /// It has another type.
    pub(super) fn take<T: Field>(&mut self, name: &'static str) -> Result<Option<T>, ApiError> {
        self.known.push(name);
        let Some(value) = self.map.swap_remove(name).filter(|value| !value.is_null()) else {
            return Ok(None);
        };
        if TEXTS.contains(&name) {
            self.text.get_or_insert(name);
        }
        match T::from_value(value) {
            Ok(value) => Ok(Some(value)),
            Err(found) => Err(wrong_type(self.path(name), T::EXPECTED, &found)),
        }
    }

    /// Takes out a field that must be there.
    ///
    /// # Errors
    /// It is missing or has another type.
    pub(super) fn require<T: Field>(&mut self, name: &'static str) -> Result<T, ApiError> {
        match self.take(name)? {
            Some(value) => Ok(value),
            None => Err(self.missing(name, T::EXPECTED)),
        }
    }

    /// Takes out a field of several types that must be there; `expected` says which.
    ///
    /// # Errors
    /// It is missing.
    pub(super) fn require_value(&mut self, name: &'static str, expected: &str) -> Result<Value, ApiError> {
        self.take(name)?.ok_or_else(|| self.missing(name, expected))
    }

    /// The error about a required field that is missing. It mentions a field that may have been meant instead.
    pub(super) fn missing(&self, name: &str, expected: &str) -> ApiError {
        self.none_of(&[name], expected)
    }

    /// The error about a request that has none of the fields `names`. It is about the first, unless a field that is
    /// there may have been meant as another.
    pub(super) fn none_of(&self, names: &[&str], expected: &str) -> ApiError {
        let mut there = self.map.iter().filter(|(_, value)| !value.is_null());
        let resembled = there.find_map(|(there, _)| nearest(there, names.iter().copied()));
        let name = resembled.or(names.first().copied()).unwrap_or_default();
        let reason = wording::missing(name, &format!("send {expected}"), &self.map);
        ApiError::invalid(self.path(name), reason)
    }

    /// The field that is there and may have been meant as `name`.
    pub(super) fn resembling(&self, name: &str) -> Option<&str> {
        wording::resembling(name, &self.map)
    }

    /// Takes out a word that must be one of `known`.
    ///
    /// # Errors
    /// It is another.
    pub(super) fn take_one_of(
        &mut self,
        name: &'static str,
        known: &[&'static str],
    ) -> Result<Option<&'static str>, ApiError> {
        let Some(word) = self.take::<String>(name)? else { return Ok(None) };
        match known.iter().find(|known| **known == word) {
            Some(known) => Ok(Some(known)),
            None => {
                // A single word is quoted; what may be a user's text is not.
                let found = if is_word(&word) { format!(", not {word}") } else { String::new() };
                let reason = format!("must be one of {}{found}", known.join(", "));
                Err(ApiError::invalid(self.path(name), reason))
            }
        }
    }

    /// Takes out all fields that were not taken out yet.
    pub(super) fn take_rest(&mut self) -> Map<String, Value> {
        std::mem::take(&mut self.map)
    }

    /// Whether every field was taken out.
    pub(super) fn is_empty(&self) -> bool {
        self.map.is_empty()
    }

    /// The fields that were not taken out yet.
    pub(super) fn rest(&self) -> &Map<String, Value> {
        &self.map
    }

    /// A field that was not taken out yet, unless it is null.
    pub(super) fn get(&self, name: &str) -> Option<&Value> {
        self.map.get(name).filter(|value| !value.is_null())
    }

    /// Whether a field is there and not null.
    pub(super) fn has(&self, name: &str) -> bool {
        self.get(name).is_some()
    }

    /// Refuses fields that were not taken out, unless they are null. The error suggests the name that the client
    /// may have meant; if there is none like it, it says `why`.
    ///
    /// # Errors
    /// There is such a field.
    pub(super) fn end(&self, why: &str) -> Result<(), ApiError> {
        let Some((name, _)) = self.map.iter().find(|(_, value)| !value.is_null()) else { return Ok(()) };
        if self.path.is_empty() && REWARDS_ONLY.contains(&name.as_str()) {
            let reason = "POST /v1/rewards takes it; send the conversation there, or leave it out";
            return Err(ApiError::unsupported(name, reason));
        }
        let why = || match self.text.filter(|_| self.path.is_empty() && TEXTS.contains(&name.as_str())) {
            Some(text) => format!("it cannot be combined with `{text}`; leave one of them out"),
            None => why.to_owned(),
        };
        let reason = wording::unknown(name, self.known.iter().copied(), why);
        Err(ApiError::unsupported(self.path(name), reason))
    }
}

/// The error about a body that is JSON, but not an object.
pub(super) fn not_an_object(value: &Value) -> ApiError {
    ApiError::NotAnObject(kind(value))
}

/// Whether a text looks like the name of a choice: short, and without spaces.
fn is_word(text: &str) -> bool {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'.');
    !text.is_empty() && text.len() <= LONGEST_NAME && text.bytes().all(is_plain)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_typo_is_answered_with_the_name_that_was_meant() {
        let known = ["model", "n", "max_tokens", "truncate_prompt_tokens", "temperature"];
        for (name, meant) in [
            ("maxTokens", Some("max_tokens")),
            ("max_token", Some("max_tokens")),
            ("tempurature", Some("temperature")),
            ("truncate_prompt_token", Some("truncate_prompt_tokens")),
            ("m", None),
            ("suffix", None),
        ] {
            assert_eq!(nearest(name, known), meant, "{name}");
        }
        assert_eq!(nearest(&"x".repeat(100_000), known), None);
        let mut fields = Fields::parse(br#"{"mdoel": "x", "unheard_of": 1}"#).unwrap();
        fields.take::<String>("model").unwrap();
        let error = fields.end("leave it out").unwrap_err();
        assert_eq!(error.to_string(), "`mdoel` is not supported: did you mean `model`?");
    }
}
