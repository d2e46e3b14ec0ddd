//! What `POST /v1/chat/completions` may say to a reward model.
//!
//! A field that OpenAI's API has and that cannot change a reward is accepted and ignored; one that
//! asks for what cannot be given is refused by name, and so is one that nobody knows.

use serde_json::Value;

use super::ApiError;
use super::fields::Fields;
use super::messages;
use super::request::{SchedulingFields, take_length_policy};
use crate::config::ServerSettings;
use crate::prompt::Message;
use crate::serving::LengthPolicy;

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
    /// What is done if it is too long; the server's own choice if it does not say.
    pub length: LengthPolicy,
    /// How urgent it is.
    pub scheduling: SchedulingFields,
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
    pub fn parse(body: &[u8], settings: &ServerSettings) -> Result<Self, ApiError> {
        let mut fields = Fields::parse(body)?;
        let model = fields.require("model")?;
        let messages = messages::read("messages", fields.require("messages")?)?;
        let stream = fields.take("stream")?.unwrap_or(false);
        let include_usage = stream_options(&mut fields)?;
        let length = take_length_policy(&mut fields, settings)?;
        let scheduling = SchedulingFields::take(&mut fields)?;
        ignore(&mut fields)?;
        one_answer(&mut fields)?;
        fields.take_text_only()?;
        fields.end("a reward model has no use for it; leave it out")?;
        Ok(Self { model, messages, stream, include_usage, length, scheduling })
    }
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
