//! Conversations as requests spell them.

use serde::Deserialize;
use serde_json::Value;
use utoipa::ToSchema;

use super::error::ApiError;
use super::fields::{Fields, wrong_type};
use super::item_path::ItemPath;
use crate::config::ServerSettings;
use crate::prompt::Message;

/// One message of a conversation.
#[derive(Deserialize, ToSchema)]
#[expect(dead_code, reason = "the schema of what `message` reads")]
pub(super) struct Turn {
    role: Role,
    content: Content,
}

/// The speaker. The chat template decides which roles a model knows, and in which order.
#[derive(Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
enum Role {
    System,
    Developer,
    User,
    Assistant,
    Tool,
}

/// What was said; may be empty.
#[derive(Deserialize, ToSchema)]
#[serde(untagged)]
#[expect(dead_code, reason = "the schema of what `content` reads")]
enum Content {
    Text(String),
    Parts(Vec<Part>),
}

#[derive(Deserialize, ToSchema)]
#[expect(dead_code, reason = "the schema of what `text_part` reads")]
struct Part {
    r#type: PartType,
    text: String,
}

#[derive(Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
enum PartType {
    Text,
}

/// Reads the conversation at `path` of a request.
///
/// # Errors
/// The list is empty, or a message is malformed or is more than text; the error names it.
pub(super) fn read(path: &str, list: Vec<Value>) -> Result<Vec<Message>, ApiError> {
    if list.is_empty() {
        return Err(ApiError::invalid(path, "is empty: send at least one message"));
    }
    let mut messages = Vec::with_capacity(list.len());
    for (index, value) in list.into_iter().enumerate() {
        messages.push(message(format!("{path}[{index}]"), value)?);
    }
    Ok(messages)
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

/// Takes `content`: a text, or a list of text parts.
///
/// # Errors
/// It is missing, or more than text.
pub(super) fn content(fields: &mut Fields) -> Result<String, ApiError> {
    const EXPECTED: &str = "a string or a list of text parts";
    let path = fields.path("content");
    match fields.take("content")? {
        Some(Value::String(text)) => Ok(text),
        Some(Value::Array(parts)) => {
            let mut text = String::new();
            for (index, part) in parts.into_iter().enumerate() {
                text.push_str(&text_part(format!("{path}[{index}]"), part)?);
            }
            Ok(text)
        }
        Some(other) => Err(wrong_type(path, EXPECTED, &other)),
        None => Err(ApiError::invalid(
            path,
            format!("is missing or null: send {EXPECTED}, empty if nothing was said"),
        )),
    }
}

fn text_part(path: String, part: Value) -> Result<String, ApiError> {
    let mut fields = Fields::from_value(path, part)?;
    let kind: String = fields.require("type")?;
    if kind != "text" {
        return Err(ApiError::unsupported(fields.path("type"), "only parts of type text can be read"));
    }
    fields.require("text")
}

/// On a server that requires it, refuses a conversation that the assistant does not end.
///
/// # Errors
/// The last message has another role.
pub(super) fn check_last_turn(
    messages: &[Message],
    path: &ItemPath,
    settings: &ServerSettings,
) -> Result<(), ApiError> {
    let Some(last) = messages.last() else { return Ok(()) };
    if !settings.require_assistant_turn || last.role == "assistant" {
        return Ok(());
    }
    let reason = format!("is {}: this server scores the assistant's turn, which must be the last", last.role);
    Err(ApiError::invalid(format!("{}.role", path.message(messages.len() - 1)), reason))
}
