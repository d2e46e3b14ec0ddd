//! Scores in the form of OpenAI's chat completions, whole or streamed.

use std::time::SystemTime;

use axum::Json;
use axum::http::{HeaderName, HeaderValue, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use utoipa::ToSchema;
use uuid::Uuid;

use crate::manifest::score_options::ScoreOptions;
use crate::prompt::Truncated;
use crate::serving::Scored;

const QUEUE_TIME: HeaderName = HeaderName::from_static("x-queue-time");
const INFERENCE_TIME: HeaderName = HeaderName::from_static("x-inference-time");
/// Tokens that were cut off the prompts of an answer; absent where none were.
pub(super) const TRUNCATED_TOKENS: HeaderName = HeaderName::from_static("x-truncated-tokens");

#[derive(Serialize, ToSchema)]
pub(super) struct Completion<'a> {
    id: &'a str,
    object: &'static str,
    created: u64,
    model: &'a str,
    choices: &'a [Choice<'a>],
    #[serde(skip_serializing_if = "Option::is_none")]
    usage: Option<Usage>,
    #[serde(skip_serializing_if = "Option::is_none")]
    truncated: Option<Truncated>,
    #[serde(skip_serializing_if = "Option::is_none")]
    score_options: Option<&'a ScoreOptions>,
}

#[derive(Serialize, ToSchema)]
struct Choice<'a> {
    index: usize,
    #[serde(skip_serializing_if = "Option::is_none")]
    message: Option<Message<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    delta: Option<Message<'a>>,
    logprobs: Option<LogProbs<'a>>,
    finish_reason: Option<&'static str>,
}

#[derive(Default, Serialize, ToSchema)]
#[schema(as = AssistantMessage)]
struct Message<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    role: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    content: Option<&'a str>,
}

#[derive(Serialize, ToSchema)]
struct LogProbs<'a> {
    content: Vec<LogProb<'a>>,
}

#[derive(Serialize, ToSchema)]
struct LogProb<'a> {
    token: &'a str,
    #[schema(value_type = Option<Vec<u8>>)]
    bytes: Option<()>,
    logprob: f64,
    #[schema(value_type = Vec<Object>, max_items = 0)]
    top_logprobs: [(); 0],
}

#[derive(Clone, Copy, Serialize, ToSchema)]
struct Usage {
    prompt_tokens: usize,
    completion_tokens: usize,
    total_tokens: usize,
    prompt_tokens_details: PromptTokens,
}

#[derive(Clone, Copy, Serialize, ToSchema)]
struct PromptTokens {
    cached_tokens: usize,
}

/// The answer to a request that did not ask for a stream.
pub(super) fn whole(model: &str, scored: &Scored) -> Response {
    let content = scored.scores.content();
    let choice = Choice {
        index: 0,
        message: Some(Message { role: Some("assistant"), content: Some(&content) }),
        delta: None,
        logprobs: Some(log_probs(scored)),
        finish_reason: Some("length"),
    };
    let answer = Completion {
        id: &id(),
        object: "chat.completion",
        created: unix_time(),
        model,
        choices: &[choice],
        usage: Some(usage(scored)),
        truncated: scored.truncated,
        score_options: scored.score_options.as_ref(),
    };
    with_headers(Json(answer).into_response(), scored)
}

/// The answer to a request that asked for a stream: the scores, the end, the usage if wanted.
pub(super) fn streamed(model: &str, scored: &Scored, include_usage: bool) -> Response {
    let content = scored.scores.content();
    let scores = Choice {
        index: 0,
        message: None,
        delta: Some(Message { role: Some("assistant"), content: Some(&content) }),
        logprobs: Some(log_probs(scored)),
        finish_reason: None,
    };
    let end = Choice {
        index: 0,
        message: None,
        delta: Some(Message::default()),
        logprobs: None,
        finish_reason: Some("length"),
    };
    let (id, created) = (id(), unix_time());
    let chunk = |choices, usage| Completion {
        id: &id,
        object: "chat.completion.chunk",
        created,
        model,
        choices,
        usage,
        truncated: scored.truncated,
        score_options: scored.score_options.as_ref(),
    };
    let (scores, end) = ([scores], [end]);
    let mut chunks = vec![chunk(&scores, None), chunk(&end, None)];
    if include_usage {
        chunks.push(chunk(&[], Some(usage(scored))));
    }
    match events(&chunks) {
        Ok(text) => {
            let headers = [(header::CONTENT_TYPE, "text/event-stream"), (header::CACHE_CONTROL, "no-cache")];
            with_headers((headers, text).into_response(), scored)
        }
        Err(error) => super::ApiError::Internal(error.to_string()).into_response(),
    }
}

fn events(chunks: &[Completion<'_>]) -> serde_json::Result<String> {
    let mut text = String::new();
    for chunk in chunks {
        text.push_str("data: ");
        text.push_str(&serde_json::to_string(chunk)?);
        text.push_str("\n\n");
    }
    text.push_str("data: [DONE]\n\n");
    Ok(text)
}

/// Clients read the scores here too, whether or not they asked for log-probabilities.
fn log_probs(scored: &Scored) -> LogProbs<'_> {
    let entry = |(token, logprob)| LogProb { token, bytes: None, logprob, top_logprobs: [] };
    LogProbs { content: scored.scores.values().map(entry).collect() }
}

fn usage(scored: &Scored) -> Usage {
    Usage {
        prompt_tokens: scored.prompt_tokens,
        completion_tokens: 1,
        total_tokens: scored.prompt_tokens + 1,
        prompt_tokens_details: PromptTokens { cached_tokens: scored.cached_tokens },
    }
}

fn id() -> String {
    format!("chatcmpl-{}", Uuid::new_v4().simple())
}

/// Seconds since 1970.
pub(super) fn unix_time() -> u64 {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(0, |elapsed| elapsed.as_secs())
}

/// Adds how long the request waited and how long the engine took, in milliseconds, and how many
/// tokens were cut off it, if any.
fn with_headers(mut response: Response, scored: &Scored) -> Response {
    if let Some(truncated) = scored.truncated {
        response.headers_mut().insert(TRUNCATED_TOKENS, truncated.tokens_removed.into());
    }
    for (name, time) in [(QUEUE_TIME, scored.queue_time), (INFERENCE_TIME, scored.inference_time)] {
        if let Ok(value) = HeaderValue::try_from(format!("{:.3}", time.as_secs_f64() * 1e3)) {
            response.headers_mut().insert(name, value);
        }
    }
    response
}
