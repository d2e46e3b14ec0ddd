//! Conversations as requests spell them.

use serde_json::Value;

use super::ApiError;
use super::fields::{Fields, wrong_type};
use crate::prompt::Message;

/// Reads the conversation that stands at `path` of a request; not empty.
///
/// # Errors
/// A turn is malformed, or is more than text; the error names it.
pub(super) fn read(path: &str, list: Vec<Value>) -> Result<Vec<Message>, ApiError> {
    if list.is_empty() {
        let reason = "is empty: send at least one message";
        return Err(ApiError::Invalid(path.to_owned(), reason.into()));
    }
    list.into_iter().enumerate().map(|(index, value)| message(format!("{path}[{index}]"), value)).collect()
}

fn message(path: String, value: Value) -> Result<Message, ApiError> {
    let mut fields = Fields::from_value(path, value)?;
    let role = fields.require("role")?;
    let content = content(&mut fields)?;
    for name in ["name", "refusal", "annotations"] {
        fields.take::<Value>(name)?;
    }
    fields.take_empty("tool_calls")?;
    fields.end("only role and content are read")?;
    Ok(Message { role, content })
}

fn content(fields: &mut Fields) -> Result<String, ApiError> {
    const EXPECTED: &str = "a string or a list of text parts";
    let path = fields.path("content");
    match fields.take("content")? {
        Some(Value::String(text)) => Ok(text),
        Some(Value::Array(parts)) => parts
            .into_iter()
            .enumerate()
            .map(|(index, part)| text_part(format!("{path}[{index}]"), part))
            .collect(),
        Some(other) => Err(wrong_type(path, EXPECTED, &other)),
        None => Err(ApiError::Invalid(
            path,
            format!("is missing or null: send {EXPECTED}, empty if nothing was said"),
        )),
    }
}

fn text_part(path: String, part: Value) -> Result<String, ApiError> {
    let mut fields = Fields::from_value(path, part)?;
    let kind: String = fields.require("type")?;
    if kind != "text" {
        return Err(ApiError::Unsupported(fields.path("type"), "only parts of type text can be read".into()));
    }
    fields.require("text")
}
