//! A JSON object read field by field, so that every error names the field that it is about.

use serde_json::{Map, Value};

use super::error::ApiError;

const NO_TOOLS: &str = "no tools are called here; leave it out";

/// The fields of an object. Each is taken out as it is read; those left at the end are unknown.
pub(super) struct Fields {
    path: String,
    map: Map<String, Value>,
}

/// A type that a field may have.
pub(super) trait Field: Sized {
    /// What error messages say is expected, for example `a string`.
    const EXPECTED: &'static str;
    /// The value, if it has this type.
    fn from_value(value: Value) -> Option<Self>;
}

impl Fields {
    /// Reads a request body.
    ///
    /// # Errors
    /// It is not JSON, or not an object.
    pub(super) fn parse(body: &[u8]) -> Result<Self, ApiError> {
        match serde_json::from_slice(body).map_err(|error| ApiError::MalformedJson(error.to_string()))? {
            Value::Object(map) => Ok(Self { path: String::new(), map }),
            other => Err(ApiError::NotAnObject(kind(&other))),
        }
    }

    /// Reads the object at `path` of a request.
    ///
    /// # Errors
    /// It is not an object.
    pub(super) fn from_value(path: String, value: Value) -> Result<Self, ApiError> {
        match value {
            Value::Object(map) => Ok(Self { path, map }),
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
    pub(super) fn take<T: Field>(&mut self, name: &str) -> Result<Option<T>, ApiError> {
        let Some(value) = self.map.swap_remove(name).filter(|value| !value.is_null()) else {
            return Ok(None);
        };
        // An error says the type that was found and never repeats the value.
        let found = kind(&value);
        match T::from_value(value) {
            Some(value) => Ok(Some(value)),
            None => Err(ApiError::invalid(self.path(name), format!("must be {}, not {found}", T::EXPECTED))),
        }
    }

    /// Takes out a field that must be there.
    ///
    /// # Errors
    /// It is missing or has another type.
    pub(super) fn require<T: Field>(&mut self, name: &str) -> Result<T, ApiError> {
        self.take(name)?.ok_or_else(|| {
            ApiError::invalid(self.path(name), format!("is missing or null: send {}", T::EXPECTED))
        })
    }

    /// Takes out a list of tools, which must be empty.
    ///
    /// # Errors
    /// It holds something.
    pub(super) fn take_empty(&mut self, name: &str) -> Result<(), ApiError> {
        match self.take::<Vec<Value>>(name)? {
            Some(list) if !list.is_empty() => Err(self.unsupported(name, NO_TOOLS)),
            _ => Ok(()),
        }
    }

    /// Takes out the fields by which clients ask for more than text. They may ask for nothing.
    ///
    /// # Errors
    /// One asks for something.
    pub(super) fn take_text_only(&mut self) -> Result<(), ApiError> {
        self.take_empty("tools")?;
        self.take_empty("functions")?;
        for name in ["tool_choice", "function_call"] {
            if self.take::<Value>(name)?.is_some_and(|value| value != "none") {
                return Err(self.unsupported(name, NO_TOOLS));
            }
        }
        if let Some(format) = self.take::<Value>("response_format")?
            && format.get("type").and_then(Value::as_str) != Some("text")
        {
            return Err(self.unsupported("response_format", "answers are plain text; leave it out"));
        }
        if let Some(list) = self.take::<Vec<Value>>("modalities")?
            && list.iter().any(|modality| modality != "text")
        {
            return Err(self.unsupported("modalities", "answers are text; leave it out"));
        }
        Ok(())
    }

    fn unsupported(&self, name: &str, reason: &str) -> ApiError {
        ApiError::unsupported(self.path(name), reason)
    }

    /// Takes out a word that must be one of `known`.
    ///
    /// # Errors
    /// It is another.
    pub(super) fn take_one_of(
        &mut self,
        name: &str,
        known: &[&'static str],
    ) -> Result<Option<&'static str>, ApiError> {
        let Some(word) = self.take::<String>(name)? else { return Ok(None) };
        match known.iter().find(|known| **known == word) {
            Some(known) => Ok(Some(known)),
            None => Err(ApiError::invalid(self.path(name), format!("must be one of {}", known.join(", ")))),
        }
    }

    /// Whether a field is there and not null.
    pub(super) fn has(&self, name: &str) -> bool {
        self.map.get(name).is_some_and(|value| !value.is_null())
    }

    /// Refuses fields that were not taken out, unless they are null; `why` goes into the error.
    ///
    /// # Errors
    /// There is such a field.
    pub(super) fn end(&self, why: &str) -> Result<(), ApiError> {
        match self.map.iter().find(|(_, value)| !value.is_null()) {
            Some((name, _)) => Err(ApiError::unsupported(self.path(name), why)),
            None => Ok(()),
        }
    }
}

/// The error about a value of the wrong type.
pub(super) fn wrong_type(path: impl Into<String>, expected: &str, found: &Value) -> ApiError {
    ApiError::invalid(path, format!("must be {expected}, not {}", kind(found)))
}

fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(number) if number.is_f64() => "a fraction",
        Value::Number(_) => "a whole number",
        Value::String(_) => "a string",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    }
}

impl Field for String {
    const EXPECTED: &'static str = "a string";
    fn from_value(value: Value) -> Option<Self> {
        match value {
            Value::String(text) => Some(text),
            _ => None,
        }
    }
}

impl Field for bool {
    const EXPECTED: &'static str = "true or false";
    fn from_value(value: Value) -> Option<Self> {
        value.as_bool()
    }
}

impl Field for i64 {
    const EXPECTED: &'static str = "a whole number";
    fn from_value(value: Value) -> Option<Self> {
        value.as_i64()
    }
}

impl Field for f64 {
    const EXPECTED: &'static str = "a number";
    fn from_value(value: Value) -> Option<Self> {
        value.as_f64()
    }
}

impl Field for Vec<Value> {
    const EXPECTED: &'static str = "a list";
    fn from_value(value: Value) -> Option<Self> {
        match value {
            Value::Array(list) => Some(list),
            _ => None,
        }
    }
}

impl Field for Value {
    const EXPECTED: &'static str = "a value";
    fn from_value(value: Value) -> Option<Self> {
        Some(value)
    }
}
