//! What `POST /v1/chat/completions` may say to a reward model.
//!
//! A field that OpenAI's API has and that cannot change a reward is accepted and ignored; one that
//! asks for what cannot be given is refused by name, and so is one that nobody knows.

use std::time::Duration;

use serde_json::Value;

use super::ApiError;
use super::fields::{Fields, wrong_type};
use crate::prompt::Message;
use crate::scheduler::Priority;

/// A request for the score of a conversation's last turn.
#[derive(Debug, PartialEq)]
pub struct ChatRequest {
    /// The model it asks for.
    pub model: String,
    /// The conversation; not empty.
    pub messages: Vec<Message>,
    /// Whether the answer is to be streamed.
    pub stream: bool,
    /// Whether a streamed answer ends with the usage.
    pub include_usage: bool,
    /// Its class.
    pub priority: Option<Priority>,
    /// How long the answer is of use.
    pub timeout: Option<Duration>,
}

/// What a field that is ignored must still be.
#[derive(Clone, Copy)]
enum Kind {
    Number,
    Whole,
    Flag,
    Any,
}

/// Known fields that cannot change a reward.
const IGNORED: [(&str, Kind); 24] = [
    ("temperature", Kind::Number),
    ("top_p", Kind::Number),
    ("frequency_penalty", Kind::Number),
    ("presence_penalty", Kind::Number),
    ("max_tokens", Kind::Whole),
    ("max_completion_tokens", Kind::Whole),
    ("seed", Kind::Whole),
    ("logprobs", Kind::Flag),
    ("top_logprobs", Kind::Whole),
    ("logit_bias", Kind::Any),
    ("stop", Kind::Any),
    ("user", Kind::Any),
    ("store", Kind::Flag),
    ("metadata", Kind::Any),
    ("service_tier", Kind::Any),
    ("safety_identifier", Kind::Any),
    ("prompt_cache_key", Kind::Any),
    ("parallel_tool_calls", Kind::Flag),
    // Sampling that other servers add to OpenAI's.
    ("top_k", Kind::Whole),
    ("min_p", Kind::Number),
    ("repetition_penalty", Kind::Number),
    ("min_tokens", Kind::Whole),
    ("ignore_eos", Kind::Flag),
    ("skip_special_tokens", Kind::Flag),
];

impl ChatRequest {
    /// Reads a request body.
    ///
    /// # Errors
    /// It is malformed, or a field is wrong, unknown or cannot be honoured; the error names it.
    pub fn parse(body: &[u8]) -> Result<Self, ApiError> {
        let mut fields = Fields::parse(body)?;
        let model = fields.require("model")?;
        let messages = messages(&mut fields)?;
        let stream = fields.take("stream")?.unwrap_or(false);
        let include_usage = stream_options(&mut fields)?;
        let priority =
            fields.take::<i64>("priority")?.map(|class| priority("priority", class)).transpose()?;
        let timeout =
            fields.take::<f64>("timeout")?.map(|seconds| timeout("timeout", seconds)).transpose()?;
        ignore(&mut fields)?;
        one_answer(&mut fields)?;
        harmless(&mut fields)?;
        match fields.left().next() {
            Some(name) => Err(ApiError::Unsupported(
                fields.path(name),
                "a reward model has no use for it; leave it out".into(),
            )),
            None => Ok(Self { model, messages, stream, include_usage, priority, timeout }),
        }
    }
}

/// A priority class, from the field or header `name`.
///
/// # Errors
/// It is out of range.
pub(super) fn priority(name: &str, class: i64) -> Result<Priority, ApiError> {
    i8::try_from(class).map(Priority).map_err(|_| {
        ApiError::Invalid(name.to_owned(), "must be from -128 to 127; lower goes first".to_owned())
    })
}

/// How long the answer is of use, from the field or header `name`.
///
/// # Errors
/// It is not positive.
pub(super) fn timeout(name: &str, seconds: f64) -> Result<Duration, ApiError> {
    Duration::try_from_secs_f64(seconds)
        .ok()
        .filter(|duration| !duration.is_zero())
        .ok_or_else(|| ApiError::Invalid(name.to_owned(), "must be a number of seconds above 0".to_owned()))
}

fn messages(fields: &mut Fields) -> Result<Vec<Message>, ApiError> {
    let list: Vec<Value> = fields.require("messages")?;
    if list.is_empty() {
        let reason = "is empty: send at least one message, the last being the response to score";
        return Err(ApiError::Invalid("messages".into(), reason.into()));
    }
    list.into_iter().enumerate().map(|(index, value)| message(format!("messages[{index}]"), value)).collect()
}

fn message(path: String, value: Value) -> Result<Message, ApiError> {
    let mut fields = Fields::from_value(path, value)?;
    let role = fields.require("role")?;
    let content = content(&mut fields)?;
    for name in ["name", "refusal", "annotations"] {
        fields.take::<Value>(name)?;
    }
    empty(&mut fields, "tool_calls")?;
    match fields.left().next() {
        Some(name) => {
            Err(ApiError::Unsupported(fields.path(name), "only role and content are scored".into()))
        }
        None => Ok(Message { role, content }),
    }
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
        return Err(ApiError::Unsupported(
            fields.path("type"),
            "only parts of type text can be scored".into(),
        ));
    }
    fields.require("text")
}

fn stream_options(fields: &mut Fields) -> Result<bool, ApiError> {
    let Some(value) = fields.take::<Value>("stream_options")? else { return Ok(false) };
    let mut options = Fields::from_value("stream_options".into(), value)?;
    Ok(options.take("include_usage")?.unwrap_or(false))
}

fn ignore(fields: &mut Fields) -> Result<(), ApiError> {
    for (name, kind) in IGNORED {
        match kind {
            Kind::Number => drop(fields.take::<f64>(name)?),
            Kind::Whole => drop(fields.take::<i64>(name)?),
            Kind::Flag => drop(fields.take::<bool>(name)?),
            Kind::Any => drop(fields.take::<Value>(name)?),
        }
    }
    Ok(())
}

fn one_answer(fields: &mut Fields) -> Result<(), ApiError> {
    match fields.take::<i64>("n")? {
        None | Some(1) => Ok(()),
        Some(_) => Err(ApiError::Unsupported(
            "n".into(),
            "a reward model has one answer to a conversation; leave it out or send 1".into(),
        )),
    }
}

/// Fields that ask for nothing when they hold one particular value.
fn harmless(fields: &mut Fields) -> Result<(), ApiError> {
    empty(fields, "tools")?;
    empty(fields, "functions")?;
    word(fields, "tool_choice", "none")?;
    word(fields, "function_call", "none")?;
    if let Some(value) = fields.take::<Value>("response_format")?
        && value.get("type").and_then(Value::as_str) != Some("text")
    {
        return Err(ApiError::Unsupported("response_format".into(), "scores are always text".into()));
    }
    if let Some(list) = fields.take::<Vec<Value>>("modalities")?
        && list.iter().any(|modality| modality != "text")
    {
        return Err(ApiError::Unsupported("modalities".into(), "scores are always text".into()));
    }
    Ok(())
}

fn empty(fields: &mut Fields, name: &str) -> Result<(), ApiError> {
    match fields.take::<Vec<Value>>(name)? {
        Some(list) if !list.is_empty() => Err(ApiError::Unsupported(
            fields.path(name),
            "a reward model calls no tools; leave it out".into(),
        )),
        _ => Ok(()),
    }
}

fn word(fields: &mut Fields, name: &str, harmless: &str) -> Result<(), ApiError> {
    match fields.take::<Value>(name)? {
        Some(value) if value != harmless => {
            Err(ApiError::Unsupported(name.to_owned(), "a reward model calls no tools; leave it out".into()))
        }
        _ => Ok(()),
    }
}
