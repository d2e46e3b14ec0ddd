//! What the responses of several routes share: ids, times, usage, chat completions, server-sent events.

use std::time::{Duration, SystemTime};

use axum::http::{HeaderName, HeaderValue, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use serde_json::{Map, Value};
use utoipa::ToSchema;

pub(super) use super::response_id::new_id;
use crate::manifest::score_options::ScoreOptions;
use crate::prompt::Truncated;
use crate::reward::Scores;
use crate::serving::Scored;

/// Number of tokens that were cut off the texts of a request; absent if none were.
const TRUNCATED_TOKENS: HeaderName = HeaderName::from_static("x-truncated-tokens");

/// Seconds since 1970.
pub(super) fn unix_time() -> u64 {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(0, |elapsed| elapsed.as_secs())
}

/// A time in milliseconds, as headers give it.
pub(super) fn milliseconds(time: Duration) -> String {
    format!("{:.3}", time.as_secs_f64() * 1e3)
}

/// Scores by attribute, in the model's order.
#[derive(Debug, Serialize, ToSchema)]
#[serde(transparent)]
#[schema(value_type = std::collections::BTreeMap<String, f64>)]
pub(super) struct ScoreMap(Map<String, Value>);

impl From<&Scores> for ScoreMap {
    fn from(scores: &Scores) -> Self {
        Self(scores.values().map(|(name, value)| (name.to_owned(), value.into())).collect())
    }
}

impl From<&[(String, f32)]> for ScoreMap {
    fn from(values: &[(String, f32)]) -> Self {
        Self(values.iter().map(|(name, value)| (name.clone(), f64::from(*value).into())).collect())
    }
}

/// What a request cost, in tokens.
#[derive(Clone, Copy, Debug, Serialize, ToSchema)]
pub(super) struct Usage {
    prompt_tokens: usize,
    completion_tokens: usize,
    total_tokens: usize,
    /// Absent if it is not known how many were cached.
    #[serde(skip_serializing_if = "Option::is_none")]
    prompt_tokens_details: Option<PromptTokensDetails>,
}

#[derive(Clone, Copy, Debug, Serialize, ToSchema)]
struct PromptTokensDetails {
    /// Prompt tokens that were not computed for this request: shared or cached.
    cached_tokens: usize,
}

impl Usage {
    pub(super) fn new(prompt_tokens: usize, completion_tokens: usize, cached_tokens: Option<usize>) -> Self {
        Self {
            prompt_tokens,
            completion_tokens,
            total_tokens: prompt_tokens + completion_tokens,
            prompt_tokens_details: cached_tokens.map(|cached_tokens| PromptTokensDetails { cached_tokens }),
        }
    }
}

/// A `usage` field that is there, and may be null: in the chunks of a stream before the last.
#[derive(Clone, Copy, Debug, Serialize, ToSchema)]
#[serde(transparent)]
pub(super) struct NullableUsage(pub(super) Option<Usage>);

impl From<Usage> for NullableUsage {
    fn from(usage: Usage) -> Self {
        Self(Some(usage))
    }
}

/// A completion or a chunk of one, in OpenAI's format; `C` is a choice.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Completion<'a, C> {
    /// The same in all chunks of a response.
    pub(super) id: &'a str,
    pub(super) object: &'static str,
    /// When the response was started, in seconds since 1970.
    pub(super) created: u64,
    pub(super) model: &'a str,
    pub(super) choices: Vec<C>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Usage>)]
    pub(super) usage: Option<NullableUsage>,
    /// What was cut off the conversation, if anything.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) truncated: Option<Truncated>,
    /// What was done to the scores, if anything.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) score_options: Option<&'a ScoreOptions>,
    /// Log-probabilities of the prompt, in vLLM's format; null unless they were asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) prompt_logprobs: Option<Value>,
    /// Token ids of the prompt, in the first chunk of a stream; absent unless they were asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) prompt_token_ids: Option<Vec<u32>>,
}

/// A message of the assistant, or a part of one.
#[derive(Debug, Default, Serialize, ToSchema)]
#[schema(as = AssistantMessage)]
pub(super) struct Message {
    #[serde(skip_serializing_if = "Option::is_none")]
    role: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    content: Option<String>,
}

impl Message {
    /// A message, or the first part of one.
    pub(super) fn assistant(content: String) -> Self {
        Self { role: Some("assistant"), content: Some(content) }
    }

    /// A further part of a message.
    pub(super) fn part(content: String) -> Self {
        Self { role: None, content: Some(content) }
    }
}

/// Headers of a stream of server-sent events. Some clients read text without a `charset` as Latin-1.
pub(super) const EVENT_STREAM: [(HeaderName, &str); 2] =
    [(header::CONTENT_TYPE, "text/event-stream; charset=utf-8"), (header::CACHE_CONTROL, "no-cache")];
/// The event that ends a stream.
pub(super) const LAST_EVENT: &str = "data: [DONE]\n\n";

/// A server-sent event.
pub(super) fn event(value: &impl Serialize) -> String {
    // Writing our own types to a string cannot fail.
    format!("data: {}\n\n", serde_json::to_string(value).unwrap_or_default())
}

/// A response with the header that says how many tokens were cut off its texts, if any.
pub(super) fn with_truncation(body: impl IntoResponse, scored: &[Scored]) -> Response {
    let mut response = body.into_response();
    let truncated = scored.iter().filter_map(|scored| scored.truncated);
    let removed: usize = truncated.map(|truncated| truncated.tokens_removed).sum();
    if removed > 0 {
        response.headers_mut().insert(TRUNCATED_TOKENS, HeaderValue::from(removed));
    }
    response
}
