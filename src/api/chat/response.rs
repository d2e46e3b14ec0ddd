//! Scores in the format of OpenAI's chat completions, whole or streamed.

use axum::Json;
use axum::http::{HeaderName, HeaderValue};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use utoipa::ToSchema;

use crate::api::stream_options::StreamOptions;
use crate::api::wire::{
    Completion, EVENT_STREAM, LAST_EVENT, Message, NullableUsage, Usage, event, milliseconds, new_id,
    unix_time, with_truncation,
};
use crate::config::FinishReason;
use crate::serving::Scored;

const QUEUE_TIME: HeaderName = HeaderName::from_static("x-queue-time");
const INFERENCE_TIME: HeaderName = HeaderName::from_static("x-inference-time");

#[derive(Serialize, ToSchema)]
pub(super) struct ScoreChoice<'a> {
    index: usize,
    #[serde(skip_serializing_if = "Option::is_none")]
    message: Option<Message>,
    #[serde(skip_serializing_if = "Option::is_none")]
    delta: Option<Message>,
    logprobs: Option<ScoreLogprobs<'a>>,
    finish_reason: Option<&'static str>,
}

/// The scores in place of log-probabilities, whether or not the client asked for these.
#[derive(Serialize, ToSchema)]
struct ScoreLogprobs<'a> {
    content: Vec<ScoreLogprob<'a>>,
}

#[derive(Serialize, ToSchema)]
struct ScoreLogprob<'a> {
    /// The attribute.
    token: &'a str,
    #[schema(value_type = Option<Vec<u8>>)]
    bytes: Option<()>,
    /// The score.
    logprob: f64,
    #[schema(value_type = Vec<Object>, max_items = 0)]
    top_logprobs: [(); 0],
}

/// The response to a request that did not ask for a stream.
pub(super) fn whole(model: &str, scored: &Scored, finish: FinishReason) -> Response {
    let choice = ScoreChoice {
        index: 0,
        message: Some(Message::assistant(scored.scores.content())),
        delta: None,
        logprobs: Some(logprobs(scored)),
        finish_reason: Some(finish.name()),
    };
    let response = Completion {
        id: &new_id("chatcmpl"),
        object: "chat.completion",
        created: unix_time(),
        model,
        choices: vec![choice],
        usage: Some(usage(scored).into()),
        truncated: scored.truncated,
        score_options: scored.score_options.as_ref(),
        prompt_logprobs: None,
        prompt_token_ids: None,
    };
    with_headers(Json(response), scored)
}

/// The response to a request that asked for a stream: a chunk with the scores, one that ends the choice, and
/// one with the usage if the request wants it.
pub(super) fn streamed(
    model: &str,
    scored: &Scored,
    finish: FinishReason,
    wanted: StreamOptions,
) -> Response {
    let scores = ScoreChoice {
        index: 0,
        message: None,
        delta: Some(Message::assistant(scored.scores.content())),
        logprobs: Some(logprobs(scored)),
        finish_reason: None,
    };
    let end = ScoreChoice {
        index: 0,
        message: None,
        delta: Some(Message::default()),
        logprobs: None,
        finish_reason: Some(finish.name()),
    };
    let (id, created) = (new_id("chatcmpl"), unix_time());
    let chunk = |choices, usage| Completion {
        id: &id,
        object: "chat.completion.chunk",
        created,
        model,
        choices,
        usage,
        truncated: scored.truncated,
        score_options: scored.score_options.as_ref(),
        prompt_logprobs: None,
        prompt_token_ids: None,
    };
    let so_far = wanted.continuous_usage.then(|| usage(scored));
    let so_far = wanted.include_usage.then_some(NullableUsage(so_far));
    let mut events = event(&chunk(vec![scores], so_far)) + &event(&chunk(vec![end], so_far));
    if wanted.include_usage {
        events += &event(&chunk(Vec::new(), Some(usage(scored).into())));
    }
    with_headers((EVENT_STREAM, events + LAST_EVENT), scored)
}

fn logprobs(scored: &Scored) -> ScoreLogprobs<'_> {
    let mut content = Vec::new();
    for (token, logprob) in scored.scores.values() {
        content.push(ScoreLogprob { token, bytes: None, logprob, top_logprobs: [] });
    }
    ScoreLogprobs { content }
}

fn usage(scored: &Scored) -> Usage {
    Usage::new(scored.prompt_tokens, 1, Some(scored.cached_tokens))
}

/// Adds how long the request waited and how long the engine took, in milliseconds, and how many tokens were
/// cut off, if any.
fn with_headers(body: impl IntoResponse, scored: &Scored) -> Response {
    let mut response = with_truncation(body, std::slice::from_ref(scored));
    for (name, time) in [(QUEUE_TIME, scored.queue_time), (INFERENCE_TIME, scored.inference_time)] {
        if let Ok(value) = HeaderValue::try_from(milliseconds(time)) {
            response.headers_mut().insert(name, value);
        }
    }
    response
}
