//! What `POST /v1/chat/completions` reads for a reward model.
//!
//! A field of OpenAI's API that cannot change a reward is ignored. One that asks for something else, or that
//! is unknown, is refused by name.

use serde_json::Value;
use utoipa::ToSchema;

use crate::api::error::ApiError;
use crate::api::fields::Fields;
use crate::api::messages::{self, Turn};
use crate::api::request::{SchedulingFields, take_length_policy};
use crate::config::ServerSettings;
use crate::prompt::{Message, Truncation};
use crate::serving::LengthPolicy;

/// A request for the score of a conversation's last turn.
#[derive(Debug)]
pub(super) struct ChatRequest {
    pub(super) model: String,
    pub(super) messages: Vec<Message>,
    /// Whether the response is streamed.
    pub(super) stream: bool,
    /// Whether a streamed response ends with the usage.
    pub(super) include_usage: bool,
    /// What is done about a conversation that is too long.
    pub(super) length: LengthPolicy,
    pub(super) scheduling: SchedulingFields,
}

/// A conversation whose last turn is scored. Other fields of OpenAI's that cannot change a reward are
/// accepted; a field that asks for something else is refused by name.
#[derive(ToSchema)]
#[schema(as = ChatRequest)]
#[expect(dead_code, reason = "the schema of what `ChatRequest::parse` reads")]
pub(super) struct ChatSchema {
    model: String,
    #[schema(min_items = 1)]
    messages: Vec<Turn>,
    stream: Option<bool>,
    truncation: Option<Truncation>,
    /// Lower goes first.
    #[schema(minimum = -128, maximum = 127)]
    priority: Option<i64>,
    /// Seconds for which the answer is of use.
    #[schema(exclusive_minimum = 0, maximum = 1e9)]
    timeout: Option<f64>,
}

/// The type that a field must have although it is ignored.
#[derive(Clone, Copy)]
enum Kind {
    Number,
    Whole,
    Flag,
    Any,
}

/// Fields that cannot change a reward.
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
    /// It is malformed, or a field is wrong, unknown or not supported; the error names it.
    pub(super) fn parse(body: &[u8], settings: &ServerSettings) -> Result<Self, ApiError> {
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
        Some(_) => Err(ApiError::unsupported(
            "n",
            "a reward model has one answer to a conversation; leave it out or send 1",
        )),
    }
}
