//! Choices of generated text in OpenAI's format.

use serde::Serialize;
use utoipa::ToSchema;

use super::logprobs::{ChatLogprobs, PromptLogprobs, TextLogprobs};
use crate::api::wire::{Message, Usage};
use crate::serving::{Ending, StopReason};

/// A choice of a chat completion, which has a `message`, or of a chunk, which has a `delta`.
#[derive(Debug, Default, Serialize, ToSchema)]
pub(super) struct ChatChoice {
    pub(super) index: usize,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) message: Option<Message>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) delta: Option<Message>,
    pub(super) logprobs: Option<ChatLogprobs>,
    #[serde(flatten)]
    pub(super) end: ChoiceEnd,
    /// Those of the message; absent unless they were asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) token_ids: Option<Vec<u32>>,
}

impl ChatChoice {
    /// A choice of a chunk, with this part of the message.
    pub(super) fn chunk(index: usize, part: Message) -> Self {
        Self { index, delta: Some(part), ..Self::default() }
    }
}

/// How a choice ended; all null before that.
#[derive(Debug, Default, Serialize, ToSchema)]
pub(super) struct ChoiceEnd {
    /// `stop` or `length`.
    pub(super) finish_reason: Option<&'static str>,
    /// The string of `stop` or the id of `stop_token_ids` that ended the text, in vLLM's format; null if something else
    /// did.
    pub(super) stop_reason: Option<StopReason>,
    /// The same in SGLang's format, in which it may be an end token of the model.
    pub(super) matched_stop: Option<StopReason>,
}

impl From<Option<Ending>> for ChoiceEnd {
    fn from(ending: Option<Ending>) -> Self {
        let Some(Ending { finish_reason, stop, is_stop_of_request, .. }) = ending else {
            return Self::default();
        };
        Self {
            finish_reason: Some(finish_reason),
            stop_reason: stop.clone().filter(|_| is_stop_of_request),
            matched_stop: stop,
        }
    }
}

/// A choice of a completion, or a part of one.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct TextChoice {
    pub(super) index: usize,
    pub(super) text: String,
    pub(super) logprobs: Option<TextLogprobs>,
    #[serde(flatten)]
    pub(super) end: ChoiceEnd,
    /// Null unless they were asked for.
    pub(super) prompt_logprobs: Option<PromptLogprobs>,
    /// The prompt's, in the first chunk of a stream.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) prompt_token_ids: Option<Vec<u32>>,
    /// Those of the text.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) token_ids: Option<Vec<u32>>,
}

/// The usage of finished sequences, whose prompts have `prompt_tokens` tokens in all.
pub(super) fn usage(prompt_tokens: usize, endings: &[Ending]) -> Usage {
    let completion_tokens = endings.iter().map(|ending| ending.tokens).sum();
    // Only the first sequence of a prompt shows what was cached before the request.
    let cached = endings.iter().map(|ending| ending.cached_tokens).min().flatten();
    Usage::new(prompt_tokens, completion_tokens, cached)
}
