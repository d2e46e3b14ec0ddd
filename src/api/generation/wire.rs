//! Generated text in the form of OpenAI's answers.

use std::collections::BTreeMap;

use serde::Serialize;
use utoipa::ToSchema;

use super::choice::Ending;
use crate::engine::sampling::Sampled;
use crate::prompt::Vocabulary;

/// An answer, or a chunk of one; `C` is what its choices are.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Answer<'a, C> {
    /// Names the answer; that of all chunks of one.
    pub(super) id: &'a str,
    /// What this is.
    pub(super) object: &'static str,
    /// When it was begun, in seconds since 1970.
    pub(super) created: u64,
    /// The model that answers.
    pub(super) model: &'a str,
    /// One for each answer.
    pub(super) choices: Vec<C>,
    /// What it cost; null in all chunks but the last of a stream that ends with it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) usage: Option<Option<Usage>>,
}

/// A choice of a chat completion: `message` of a whole one, `delta` of a chunk.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct ChatChoice {
    /// Which of the answers.
    pub(super) index: usize,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) message: Option<Message>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) delta: Option<Message>,
    /// If they were asked for.
    pub(super) logprobs: Option<ChatLogprobs>,
    /// `stop` or `length`.
    pub(super) finish_reason: Option<&'static str>,
}

/// A turn, or a part of one.
#[derive(Debug, Default, Serialize, ToSchema)]
pub(super) struct Message {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) role: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) content: Option<String>,
}

/// Log-probabilities of a chat completion.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct ChatLogprobs {
    content: Vec<ChatToken>,
}

#[derive(Debug, Serialize, ToSchema)]
struct ChatToken {
    #[serde(flatten)]
    token: Token,
    top_logprobs: Vec<Token>,
}

/// A token and the natural logarithm of its probability.
#[derive(Debug, Serialize, ToSchema)]
struct Token {
    token: String,
    logprob: f32,
    bytes: Vec<u8>,
}

/// A choice of a completion, or a part of one.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct TextChoice {
    /// Which of the answers.
    pub(super) index: usize,
    pub(super) text: String,
    /// If they were asked for.
    pub(super) logprobs: Option<TextLogprobs>,
    /// `stop` or `length`.
    pub(super) finish_reason: Option<&'static str>,
}

/// Log-probabilities of a completion, by token.
#[derive(Debug, Default, Serialize, ToSchema)]
pub(super) struct TextLogprobs {
    tokens: Vec<String>,
    token_logprobs: Vec<f32>,
    top_logprobs: Vec<BTreeMap<String, f32>>,
    /// Where each token begins in the answer's text, in characters.
    text_offset: Vec<usize>,
}

/// What an answer cost.
#[derive(Clone, Copy, Debug, Serialize, ToSchema)]
pub(super) struct Usage {
    prompt_tokens: usize,
    completion_tokens: usize,
    total_tokens: usize,
    /// Left out where they are not known.
    #[serde(skip_serializing_if = "Option::is_none")]
    prompt_tokens_details: Option<PromptTokens>,
}

#[derive(Clone, Copy, Debug, Serialize, ToSchema)]
struct PromptTokens {
    cached_tokens: usize,
}

impl Usage {
    /// Of sequences that ended, after prompts of so many tokens.
    pub(super) fn new(prompt_tokens: usize, endings: &[Ending]) -> Self {
        let completion_tokens = endings.iter().map(|ending| ending.tokens).sum();
        // The first of a prompt's sequences tells what was cached before the request.
        let cached = endings.iter().map(|ending| ending.cached_tokens).min().flatten();
        Self {
            prompt_tokens,
            completion_tokens,
            total_tokens: prompt_tokens + completion_tokens,
            prompt_tokens_details: cached.map(|cached_tokens| PromptTokens { cached_tokens }),
        }
    }
}

fn text(vocabulary: &Vocabulary, id: u32) -> String {
    String::from_utf8_lossy(vocabulary.bytes(id)).into_owned()
}

impl ChatLogprobs {
    pub(super) fn new(tokens: &[Sampled], vocabulary: &Vocabulary) -> Self {
        let token = |(id, logprob): (u32, f32)| Token {
            token: text(vocabulary, id),
            logprob,
            bytes: vocabulary.bytes(id).to_vec(),
        };
        let content = tokens.iter().map(|sampled| ChatToken {
            token: token((sampled.token, sampled.logprob.unwrap_or_default())),
            top_logprobs: sampled.top.iter().copied().map(token).collect(),
        });
        Self { content: content.collect() }
    }
}

impl TextLogprobs {
    /// Of tokens whose text begins at the character `offset`, which moves behind them.
    pub(super) fn new(tokens: &[Sampled], vocabulary: &Vocabulary, offset: &mut usize) -> Self {
        let mut logprobs = Self::default();
        for sampled in tokens {
            let token = text(vocabulary, sampled.token);
            logprobs.text_offset.push(*offset);
            *offset += token.chars().count();
            let mut top: BTreeMap<_, _> =
                sampled.top.iter().map(|&(id, logprob)| (text(vocabulary, id), logprob)).collect();
            // The chosen token is always there, as in OpenAI's API.
            top.insert(token.clone(), sampled.logprob.unwrap_or_default());
            logprobs.tokens.push(token);
            logprobs.token_logprobs.push(sampled.logprob.unwrap_or_default());
            logprobs.top_logprobs.push(top);
        }
        logprobs
    }
}
