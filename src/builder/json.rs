//! Reads the checkpoint's JSON files. Every error names the file and the field.
//!
//! The files are read as Python's `json` reads them: a byte order mark and numbers that are not finite, which
//! JSON does not have, are accepted.

use std::fmt::Display;
use std::path::{Path, PathBuf};

use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use super::BuildError;
use crate::manifest::{MANIFEST_FILE, read_plain_text};

/// No size in a model exceeds this, so that the product of any three fits an integer.
const LARGEST_SIZE: usize = 1 << 20;
/// Sizes with bounds of their own.
const BOUNDS: [(&str, usize); 3] =
    [("num_hidden_layers", 4096), ("vocab_size", 1 << 24), ("max_position_embeddings", 1 << 30)];
/// How a file starts that Git LFS has not replaced by the content yet.
pub(super) const LFS_POINTER: &[u8] = b"version https://git-lfs";
/// No JSON file or template of a checkpoint is larger; the largest tokenizers have some 40 MB. Parsed, it may take ten
/// times as much memory.
pub(super) const LARGEST_FILE: u64 = 64 << 20;

/// The JSON object of a file, or one nested in it.
pub(super) struct Object {
    path: PathBuf,
    /// The field under which it is nested, with a dot; empty for the object of the file.
    prefix: String,
    fields: Map<String, Value>,
}

impl Object {
    /// Reads `path`, whose text must be a JSON object.
    pub(super) fn read(path: &Path) -> Result<Self, BuildError> {
        let text = read_text(path).map_err(|error| unreadable(path, &error))?;
        let fields = serde_json::from_str(&text).map_err(|error| {
            let field = if error.is_syntax() { field_before(&text, &error) } else { None };
            let reason = match field.filter(|_| error.to_string().starts_with("number out of range")) {
                Some(field) => format!("{field}: the number is too large ({error})"),
                None => format!("it is not a JSON object: {error}"),
            };
            BuildError::checkpoint(path, reason)
        })?;
        Ok(Self { path: path.to_owned(), prefix: String::new(), fields })
    }

    /// As [`Object::read`]; `None` if there is no such file.
    pub(super) fn read_if_present(path: &Path) -> Result<Option<Self>, BuildError> {
        if path.exists() { Self::read(path).map(Some) } else { Ok(None) }
    }

    /// The field's value; `None` if it is absent or null.
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

    /// A size: a positive integer. Without a default the field must be there.
    pub(super) fn size(&self, field: &str, default: Option<usize>) -> Result<usize, BuildError> {
        let value = match default {
            Some(default) => self.optional(field)?.unwrap_or(default),
            None => self.required(field)?,
        };
        let largest =
            BOUNDS.iter().find(|(name, _)| *name == field).map_or(LARGEST_SIZE, |(_, bound)| *bound);
        if (1..=largest).contains(&value) {
            Ok(value)
        } else {
            Err(self.error(field, &format!("{value} is not between 1 and {largest}")))
        }
    }

    /// The number `value` of a field, which must be above 0 and finite.
    pub(super) fn positive<T: Copy + Display + Into<f64>>(
        &self,
        field: &str,
        value: T,
    ) -> Result<T, BuildError> {
        let number: f64 = value.into();
        if number > 0.0 && number.is_finite() {
            Ok(value)
        } else {
            Err(self.error(field, &format!("{value} is not above 0")))
        }
    }

    /// The object nested under a field; empty if the field is absent.
    pub(super) fn nested(&self, field: &str) -> Result<Self, BuildError> {
        let fields = self.optional(field)?.unwrap_or_default();
        Ok(Self { path: self.path.clone(), prefix: format!("{}{field}.", self.prefix), fields })
    }

    /// The same without some fields, and those of them that it had.
    pub(super) fn without<'n>(&self, names: &[&'n str]) -> (Self, Vec<&'n str>) {
        let mut fields = self.fields.clone();
        let removed = names.iter().copied().filter(|name| fields.shift_remove(*name).is_some()).collect();
        (Self { path: self.path.clone(), prefix: self.prefix.clone(), fields }, removed)
    }

    /// The same with further names for fields: of each pair, a field of the first name, where there is none of the
    /// second, counts as one of the second, too.
    pub(super) fn aliased(&self, names: &[(&str, &str)]) -> Self {
        let mut fields = self.fields.clone();
        for (name, common) in names {
            if let Some(value) = self.fields.get(*name)
                && !fields.contains_key(*common)
            {
                fields.insert((*common).to_owned(), value.clone());
            }
        }
        Self { path: self.path.clone(), prefix: self.prefix.clone(), fields }
    }

    /// Its fields, with those of another object overriding fields of the same name.
    pub(super) fn overlaid(&self, over: &Self) -> Self {
        let names = if over.is_empty() { self } else { over };
        let mut fields = self.fields.clone();
        fields.extend(over.fields.clone());
        Self { path: self.path.clone(), prefix: names.prefix.clone(), fields }
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// A field's name with those of the objects around it.
    pub(super) fn name(&self, field: &str) -> String {
        format!("{}{field}", self.prefix)
    }

    /// Every field, in the file's order.
    pub(super) fn fields(&self) -> impl Iterator<Item = (&str, &Value)> {
        self.fields.iter().map(|(name, value)| (name.as_str(), value))
    }

    /// Whether the field is present, even if it is null.
    pub(super) fn has(&self, field: &str) -> bool {
        self.fields.contains_key(field)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.fields.is_empty()
    }

    /// An error about one field.
    pub(super) fn error(&self, field: &str, reason: &str) -> BuildError {
        BuildError::checkpoint(&self.path, format!("{}: {reason}", self.name(field)))
    }
}

/// Text of a file of a checkpoint.
///
/// # Errors
/// Besides those of reading: it is a device or a pipe, which could block or never end, is larger than any such file
/// is, or is the pointer that Git LFS leaves in its place.
pub(super) fn read_plain(path: &Path) -> std::io::Result<String> {
    let text = read_plain_text(path, LARGEST_FILE)?;
    if text.as_bytes().starts_with(LFS_POINTER) {
        return Err(std::io::Error::new(
            std::io::ErrorKind::InvalidData,
            "it is a Git LFS pointer, not the file itself; run `git lfs pull` in the checkpoint's repository, or \
             download it with `hf download`",
        ));
    }
    Ok(text)
}

/// Text of a JSON file, without a byte order mark and with null for `NaN`, `Infinity` and `-Infinity`.
pub(super) fn read_text(path: &Path) -> std::io::Result<String> {
    let mut text = read_plain(path)?;
    if text.starts_with('\u{feff}') {
        text.remove(0);
    }
    if text.contains("NaN") || text.contains("Infinity") { Ok(without_infinities(&text)) } else { Ok(text) }
}

/// The name of the last field before an error.
fn field_before<'t>(text: &'t str, error: &serde_json::Error) -> Option<&'t str> {
    let line_start: usize =
        text.split_inclusive('\n').take(error.line().saturating_sub(1)).map(str::len).sum();
    let before = text.get(..line_start + error.column())?;
    let (before, _) = before.rsplit_once("\":")?;
    before.rsplit_once('"').map(|(_, name)| name)
}

/// Replaces numbers that are not finite, outside strings, by null.
fn without_infinities(text: &str) -> String {
    let mut replaced = String::with_capacity(text.len());
    let (mut in_string, mut escaped, mut done) = (false, false, 0);
    for (at, byte) in text.bytes().enumerate() {
        match byte {
            _ if at < done => {}
            b'"' if !escaped => in_string = !in_string,
            b'N' | b'I' | b'-' if !in_string => {
                let word =
                    ["NaN", "Infinity", "-Infinity"].into_iter().find(|word| text[at..].starts_with(word));
                if let Some(word) = word {
                    replaced.push_str("null");
                    done = at + word.len();
                }
            }
            _ => {}
        }
        escaped = in_string && byte == b'\\' && !escaped;
        if at >= done {
            // The bytes of a character are copied together, where it starts.
            replaced.extend(text.get(at..).and_then(|rest| rest.chars().next()));
        }
    }
    replaced
}

/// The error for a file that cannot be read.
pub(super) fn unreadable(path: &Path, error: &std::io::Error) -> BuildError {
    let reason = match error.kind() {
        std::io::ErrorKind::NotFound if path.is_symlink() => {
            "it is a link to a file that is not there; download the checkpoint again".to_owned()
        }
        std::io::ErrorKind::NotFound if path.with_file_name(MANIFEST_FILE).exists() => {
            let directory = path.parent().unwrap_or(path).display();
            format!("it is missing; {directory} is an engine already, which `assay serve {directory}` serves")
        }
        std::io::ErrorKind::NotFound => {
            "it is missing; name a directory with a Hugging Face checkpoint".to_owned()
        }
        _ => format!("it cannot be read ({error})"),
    };
    BuildError::checkpoint(path, reason)
}

/// A value's text, cut to 60 characters.
fn brief(value: &Value) -> String {
    let text = value.to_string();
    match text.char_indices().nth(60) {
        Some((end, _)) => format!("{}...", &text[..end]),
        None => text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_that_is_too_large_is_refused_by_its_field() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("config.json");
        std::fs::write(&path, "{\"a\": 1,\n \"rope\": {\"theta\": 1e400}, \"b\": 2}").unwrap();
        let sentence = Object::read(&path).err().unwrap().to_string();
        assert!(sentence.contains("config.json: theta: the number is too large"), "{sentence}");
    }

    #[test]
    fn numbers_that_are_not_finite_are_null_and_strings_stay() {
        let text = r#"{"é": [NaN, -Infinity, Infinity, -1], "NaN \\" : "a \"Infinity\" NaN"}"#;
        let replaced = r#"{"é": [null, null, null, -1], "NaN \\" : "a \"Infinity\" NaN"}"#;
        assert_eq!(without_infinities(text), replaced);
    }
}
