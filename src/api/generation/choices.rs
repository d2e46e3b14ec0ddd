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

/// The usage of finished sequences, `n` for each prompt, in the order of the prompts. These have `prompt_tokens` tokens
/// in all.
pub(super) fn usage(prompt_tokens: usize, endings: &[Ending], n: usize) -> Usage {
    let completion_tokens = endings.iter().map(|ending| ending.tokens).sum();
    // Only the first sequence of a prompt shows what was cached before the request.
    let of_a_prompt = |endings: &[Ending]| endings.iter().map(|ending| ending.cached_tokens).min().flatten();
    let cached = endings.chunks(n.max(1)).map(of_a_prompt).sum();
    Usage::new(prompt_tokens, completion_tokens, cached)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ending(cached_tokens: Option<usize>) -> Ending {
        Ending { finish_reason: "length", stop: None, is_stop_of_request: false, tokens: 3, cached_tokens }
    }

    #[test]
    fn cached_tokens_are_counted_once_for_each_prompt() {
        let details = |cached: &[Option<usize>], n| {
            let endings: Vec<_> = cached.iter().copied().map(ending).collect();
            serde_json::to_value(usage(20, &endings, n)).unwrap()["prompt_tokens_details"].clone()
        };
        // The second sequence of a prompt shares all of it with the first.
        assert_eq!(details(&[Some(0), Some(9), Some(4), Some(9)], 2)["cached_tokens"], 4);
        assert_eq!(details(&[Some(5), Some(6), Some(7)], 1)["cached_tokens"], 18);
        assert!(details(&[Some(5), None], 1).is_null(), "one prompt's are unknown");
    }
}
