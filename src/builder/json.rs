//! Reads the checkpoint's JSON files so that every complaint names the file and the field.

use std::path::{Path, PathBuf};

use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use super::BuildError;

/// A JSON object out of one file, or one nested in it.
pub(super) struct Object {
    path: PathBuf,
    /// Field under which it is nested, with a dot; empty for the file's own.
    prefix: String,
    fields: Map<String, Value>,
}

impl Object {
    /// Reads `path`, whose text must be a JSON object.
    pub(super) fn read(path: &Path) -> Result<Self, BuildError> {
        let text = std::fs::read(path).map_err(|error| unreadable(path, &error))?;
        let fields = serde_json::from_slice(&text)
            .map_err(|error| BuildError::checkpoint(path, format!("it is not a JSON object: {error}")))?;
        Ok(Self { path: path.to_owned(), prefix: String::new(), fields })
    }

    /// As [`Object::read`], or nothing where there is no such file.
    pub(super) fn read_if_present(path: &Path) -> Result<Option<Self>, BuildError> {
        if path.exists() { Self::read(path).map(Some) } else { Ok(None) }
    }

    /// The field's value; `None` where it is absent or null.
    pub(super) fn optional<T: DeserializeOwned>(&self, field: &str) -> Result<Option<T>, BuildError> {
        match self.fields.get(field) {
            None | Some(Value::Null) => Ok(None),
            Some(value) => T::deserialize(value)
                .map(Some)
                .map_err(|error| self.error(field, &format!("{error}, but it is {}", brief(value)))),
        }
    }

    /// The field's value, which must be there.
    pub(super) fn required<T: DeserializeOwned>(&self, field: &str) -> Result<T, BuildError> {
        self.optional(field)?.ok_or_else(|| self.error(field, "it is missing"))
    }

    /// The object nested under a field, or an empty one.
    pub(super) fn nested(&self, field: &str) -> Result<Self, BuildError> {
        let fields = self.optional(field)?.unwrap_or_default();
        Ok(Self { path: self.path.clone(), prefix: format!("{}{field}.", self.prefix), fields })
    }

    /// Every field, in the file's order.
    pub(super) fn fields(&self) -> impl Iterator<Item = (&str, &Value)> {
        self.fields.iter().map(|(name, value)| (name.as_str(), value))
    }

    /// Whether the field is there, be it null.
    pub(super) fn has(&self, field: &str) -> bool {
        self.fields.contains_key(field)
    }

    /// Whether it has no fields.
    pub(super) fn is_empty(&self) -> bool {
        self.fields.is_empty()
    }

    /// A complaint about one field.
    pub(super) fn error(&self, field: &str, reason: &str) -> BuildError {
        BuildError::checkpoint(&self.path, format!("{}{field}: {reason}", self.prefix))
    }
}

/// What to say of a file that cannot be read.
pub(super) fn unreadable(path: &Path, error: &std::io::Error) -> BuildError {
    let reason = match error.kind() {
        std::io::ErrorKind::NotFound => {
            "it is missing; --model must name a directory with a Hugging Face checkpoint".to_owned()
        }
        _ => format!("it cannot be read ({error})"),
    };
    BuildError::checkpoint(path, reason)
}

/// A value's text, cut where it is long.
fn brief(value: &Value) -> String {
    let text = value.to_string();
    match text.char_indices().nth(60) {
        Some((end, _)) => format!("{}...", &text[..end]),
        None => text,
    }
}
