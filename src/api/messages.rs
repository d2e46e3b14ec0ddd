//! Conversations as requests write them.

use serde::Deserialize;
use serde_json::Value;
use utoipa::ToSchema;

use super::error::ApiError;
use super::fields::{Fields, wrong_type};
use super::item_path::ItemPath;
use crate::config::ServerSettings;
use crate::prompt::{EncodeOptions, Message};

/// Maximum number of bytes of a role, which does not count as text to score.
const LONGEST_ROLE: usize = 256;

/// One message of a conversation. The chat template gets its other fields too, such as `name`, `tool_call_id` or
/// `reasoning_content`.
#[derive(Deserialize, ToSchema)]
#[expect(dead_code, reason = "the schema of what `message` reads")]
pub(super) struct Turn {
    /// Who speaks, such as `system`, `user`, `assistant` or `tool`. The chat template decides which roles a model
    /// knows, and in which order.
    role: String,
    /// May be missing or null if there are `tool_calls`.
    content: Option<Content>,
    /// Calls of functions, in OpenAI's format.
    #[schema(value_type = Option<Vec<Object>>)]
    tool_calls: Option<Vec<Value>>,
}

/// What was said; may be empty.
#[derive(Deserialize, ToSchema)]
#[serde(untagged)]
#[expect(dead_code, reason = "the schema of what `content` reads")]
pub(super) enum Content {
    Text(String),
    Parts(Vec<Part>),
}

/// A text, by itself or as OpenAI's two APIs write it.
#[derive(Deserialize, ToSchema)]
#[serde(untagged)]
#[expect(dead_code, reason = "the schema of what `text_part` reads")]
pub(super) enum Part {
    Plain(String),
    Text(TextPart),
    Refusal(RefusalPart),
}

#[derive(Deserialize, ToSchema)]
#[expect(dead_code, reason = "the schema of what `text_part` reads")]
pub(super) struct TextPart {
    r#type: TextType,
    text: String,
}

#[derive(Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
enum TextType {
    Text,
    InputText,
    OutputText,
}

#[derive(Deserialize, ToSchema)]
#[expect(dead_code, reason = "the schema of what `text_part` reads")]
pub(super) struct RefusalPart {
    r#type: RefusalType,
    refusal: String,
}

#[derive(Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
enum RefusalType {
    Refusal,
}

/// How the prompt of a conversation ends.
#[derive(ToSchema)]
#[schema(as = PromptEnd)]
#[expect(dead_code, reason = "the schema of what `take_encode_options` reads")]
pub(super) struct PromptEndSchema {
    /// Whether the prompt ends with the start of another response: true if absent for a model that chats, false for
    /// a reward model.
    add_generation_prompt: Option<bool>,
    /// Whether the prompt ends with the text of the last message.
    continue_final_message: Option<bool>,
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
    let role: String = fields.require("role")?;
    if role.len() > LONGEST_ROLE {
        let reason = format!("has {} bytes: send a role of at most {LONGEST_ROLE}", role.len());
        return Err(ApiError::invalid(fields.path("role"), reason));
    }
    let calls: Option<Vec<Value>> = fields.take("tool_calls")?;
    let calls_tools = calls.as_ref().is_some_and(|calls| !calls.is_empty());
    let content =
        if calls_tools && !fields.has("content") { None } else { Some(content(&mut fields, text_part)?) };
    let mut more = fields.take_rest();
    more.extend(calls.map(|calls| ("tool_calls".to_owned(), Value::Array(calls))));
    Ok(Message::with_fields(role, content, more))
}

/// Takes `content`: a text, or a list of text parts, each of which becomes a line. `read_part` reads the part at a path.
///
/// # Errors
/// It is missing, or more than text.
pub(super) fn content(
    fields: &mut Fields,
    read_part: fn(String, Value) -> Result<String, ApiError>,
) -> Result<String, ApiError> {
    const EXPECTED: &str = "a string or a list of text parts";
    let path = fields.path("content");
    match fields.take("content")? {
        Some(Value::String(text)) => Ok(text),
        Some(Value::Array(list)) => parts(&path, list, read_part),
        Some(other) => Err(wrong_type(path, EXPECTED, &other)),
        None => Err(fields.missing("content", &format!("{EXPECTED}, empty if nothing was said"))),
    }
}

/// Reads a list of parts, each of which becomes a line.
///
/// # Errors
/// A part is more than text.
pub(super) fn parts(
    path: &str,
    list: Vec<Value>,
    read_part: fn(String, Value) -> Result<String, ApiError>,
) -> Result<String, ApiError> {
    let mut texts = Vec::with_capacity(list.len());
    for (index, part) in list.into_iter().enumerate() {
        texts.push(read_part(format!("{path}[{index}]"), part)?);
    }
    Ok(Message::join_parts(&texts))
}

/// Reads a part of text. As in vLLM, it may go by the names of OpenAI's Responses API, or be a plain string.
///
/// # Errors
/// It is more than text.
pub(super) fn text_part(path: String, part: Value) -> Result<String, ApiError> {
    if let Value::String(text) = part {
        return Ok(text);
    }
    let mut fields = Fields::from_value(path, part)?;
    let text = match fields.require::<String>("type")?.as_str() {
        "text" | "input_text" | "output_text" => fields.require("text")?,
        "refusal" => fields.require("refusal")?,
        _ => return Err(ApiError::unsupported(fields.path("type"), "only parts of type text can be read")),
    };
    // What clients of hosted services add: which prefix to cache, and sources of what was said.
    for name in ["cache_control", "annotations"] {
        fields.take::<Value>(name)?;
    }
    fields.end("only the text of a part is read; leave it out")?;
    Ok(text)
}

/// Takes `add_generation_prompt`, which is `default` if absent, and `continue_final_message`: how the prompt of a
/// conversation ends.
///
/// # Errors
/// Both are true, or one is not a boolean.
pub(super) fn take_encode_options(
    fields: &mut Fields,
    default: bool,
) -> Result<EncodeOptions<'static>, ApiError> {
    let add_generation_prompt = fields.take::<bool>("add_generation_prompt")?;
    let continue_final_message = fields.take::<bool>("continue_final_message")?.unwrap_or(false);
    if continue_final_message && add_generation_prompt == Some(true) {
        let reason = "cannot be combined with `add_generation_prompt`: send true in one of them only";
        return Err(ApiError::invalid(fields.path("continue_final_message"), reason));
    }
    let add_generation_prompt = add_generation_prompt.unwrap_or(default && !continue_final_message);
    Ok(EncodeOptions { add_generation_prompt, continue_final_message, variables: None })
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
    // A principle about the last response may follow it.
    if !settings.require_assistant_turn || ["assistant", "principle"].contains(&last.role.as_str()) {
        return Ok(());
    }
    let reason = format!("is {}: this server scores the assistant's turn, which must be the last", last.role);
    Err(ApiError::invalid(format!("{}.role", path.message(messages.len() - 1)), reason))
}
