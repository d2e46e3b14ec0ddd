//! What `POST /v1/rewards` may say.

use serde_json::Value;

use crate::api::fields::{Fields, wrong_type};
use crate::api::request::{SchedulingFields, check_count, check_size, take_length_policy};
use crate::api::{ApiError, messages};
use crate::config::ServerSettings;
use crate::prompt::Message;
use crate::serving::LengthPolicy;

/// What is asked besides the candidates.
#[derive(Debug, PartialEq)]
pub(super) struct RewardsRequest {
    /// The model it asks for; the server's own if it does not say.
    pub(super) model: Option<String>,
    /// The attribute by which candidates are ranked.
    pub(super) rank_by: Option<String>,
    /// Whether the answer tells where the time went.
    pub(super) timing: bool,
    /// What is done about candidates that are too long.
    pub(super) length: LengthPolicy,
    /// How urgent it is.
    pub(super) scheduling: SchedulingFields,
}

/// What is to be scored.
#[derive(Debug)]
pub(super) enum Candidates {
    /// Responses to one prompt.
    Responses {
        /// The prompt.
        conversation: Vec<Message>,
        /// What might follow.
        responses: Vec<String>,
    },
    /// Whole conversations, or what is wrong with one.
    Conversations(Vec<Result<Vec<Message>, ApiError>>),
}

impl RewardsRequest {
    /// Reads a request body.
    ///
    /// # Errors
    /// It is malformed, or a field is wrong or unknown; the error names it. What is wrong with one
    /// conversation is that conversation's error alone.
    pub(super) fn parse(body: &[u8], settings: &ServerSettings) -> Result<(Self, Candidates), ApiError> {
        let mut fields = Fields::parse(body)?;
        let request = Self {
            model: fields.take("model")?,
            rank_by: fields.take("rank_by")?,
            timing: fields.take("timing")?.unwrap_or(false),
            length: take_length_policy(&mut fields, settings)?,
            scheduling: SchedulingFields::take(&mut fields)?,
        };
        let candidates = Candidates::take(&mut fields, settings)?;
        fields.end("this route knows no such field; leave it out")?;
        Ok((request, candidates))
    }
}

impl Candidates {
    fn take(fields: &mut Fields, settings: &ServerSettings) -> Result<Self, ApiError> {
        if let Some(conversations) = fields.take::<Vec<Value>>("conversations")? {
            for other in ["messages", "responses"] {
                if fields.take::<Value>(other)?.is_some() {
                    let reason = "excludes `conversations`: send either a prompt and its responses, or whole \
                                  conversations";
                    return Err(ApiError::Invalid(other.into(), reason.into()));
                }
            }
            check_count("conversations", conversations.len(), settings)?;
            return Ok(Self::Conversations(
                conversations.into_iter().enumerate().map(conversation).collect(),
            ));
        }
        let conversation = messages::read("messages", fields.require("messages")?)?;
        let responses: Vec<Value> = fields.require("responses")?;
        check_count("responses", responses.len(), settings)?;
        let responses: Vec<String> =
            responses.into_iter().enumerate().map(response).collect::<Result<_, _>>()?;
        let prompt = conversation.iter().map(|message| message.content.len()).sum();
        check_size("responses", prompt, &responses, settings)?;
        Ok(Self::Responses { conversation, responses })
    }
}

fn conversation((index, value): (usize, Value)) -> Result<Vec<Message>, ApiError> {
    let path = format!("conversations[{index}]");
    match value {
        Value::Array(list) => messages::read(&path, list),
        other => Err(wrong_type(path, "a list of messages", &other)),
    }
}

fn response((index, value): (usize, Value)) -> Result<String, ApiError> {
    match value {
        Value::String(text) => Ok(text),
        other => Err(wrong_type(format!("responses[{index}]"), "a string", &other)),
    }
}
