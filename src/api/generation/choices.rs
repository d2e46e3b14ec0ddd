//! Choices of generated text in OpenAI's form, and their log-probabilities.

use std::collections::BTreeMap;

use serde::Serialize;
use utoipa::ToSchema;

use crate::api::wire::{Message, Usage};
use crate::prompt::Vocabulary;
use crate::sampling::Sampled;
use crate::serving::Ending;

/// A choice of a chat completion, which has a `message`, or of a chunk, which has a `delta`.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct ChatChoice {
    pub(super) index: usize,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) message: Option<Message>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) delta: Option<Message>,
    pub(super) logprobs: Option<ChatLogprobs>,
    /// `stop` or `length`.
    pub(super) finish_reason: Option<&'static str>,
}

impl ChatChoice {
    /// A choice of a chunk, with this part of the message.
    pub(super) fn chunk(index: usize, part: Message) -> Self {
        Self { index, message: None, delta: Some(part), logprobs: None, finish_reason: None }
    }
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
    pub(super) index: usize,
    pub(super) text: String,
    pub(super) logprobs: Option<TextLogprobs>,
    /// `stop` or `length`.
    pub(super) finish_reason: Option<&'static str>,
}

/// Log-probabilities of a completion, by token.
#[derive(Debug, Default, Serialize, ToSchema)]
pub(super) struct TextLogprobs {
    /// First those of the prompt, if the answer starts with it; last the end token, if one came.
    tokens: Vec<String>,
    /// Null for the prompt's first token, which follows nothing.
    token_logprobs: Vec<Option<f32>>,
    top_logprobs: Vec<Option<BTreeMap<String, f32>>>,
    /// Where each token starts in the answer's text, in characters.
    text_offset: Vec<usize>,
}

/// What sequences cost that ended after prompts of `prompt_tokens` tokens together.
pub(super) fn usage(prompt_tokens: usize, endings: &[Ending]) -> Usage {
    let completion_tokens = endings.iter().map(|ending| ending.tokens).sum();
    // The first of a prompt's sequences says what was cached before the request.
    let cached = endings.iter().map(|ending| ending.cached_tokens).min().flatten();
    Usage::new(prompt_tokens, completion_tokens, cached)
}

fn spelled(vocabulary: &Vocabulary, id: u32) -> String {
    String::from_utf8_lossy(vocabulary.bytes(id)).into_owned()
}

impl ChatLogprobs {
    pub(super) fn new(tokens: &[Sampled], vocabulary: &Vocabulary) -> Self {
        let mut content = Vec::with_capacity(tokens.len());
        for sampled in tokens {
            let top = sampled.top.iter().map(|&(id, logprob)| Token::new(id, logprob, vocabulary));
            content.push(ChatToken {
                token: Token::new(sampled.token, sampled.logprob.unwrap_or_default(), vocabulary),
                top_logprobs: top.collect(),
            });
        }
        Self { content }
    }
}

impl Token {
    fn new(id: u32, logprob: f32, vocabulary: &Vocabulary) -> Self {
        Self { token: spelled(vocabulary, id), logprob, bytes: vocabulary.bytes(id).to_vec() }
    }
}

impl TextLogprobs {
    /// Adds the tokens of a prompt that the answer shows as `text`: the first, which has no log-probability,
    /// and the rest. Tokens that the tokenizer put before the text have the offset 0.
    pub(super) fn push_prompt(&mut self, first: u32, rest: &[Sampled], text: &str, vocabulary: &Vocabulary) {
        self.tokens.push(spelled(vocabulary, first));
        self.token_logprobs.push(None);
        self.top_logprobs.push(None);
        for sampled in rest {
            self.push_token(sampled, vocabulary);
        }
        let all: usize = self.tokens.iter().map(|token| token.chars().count()).sum();
        let before = all.saturating_sub(text.chars().count());
        let mut start = 0;
        for token in &self.tokens {
            self.text_offset.push(usize::saturating_sub(start, before));
            start += token.chars().count();
        }
    }

    /// Adds tokens whose text starts at the character `offset`, which moves to their end.
    pub(super) fn push(&mut self, tokens: &[Sampled], vocabulary: &Vocabulary, offset: &mut usize) {
        for sampled in tokens {
            self.push_token(sampled, vocabulary);
            self.text_offset.push(*offset);
            *offset += self.tokens.last().map_or(0, |token| token.chars().count());
        }
    }

    fn push_token(&mut self, sampled: &Sampled, vocabulary: &Vocabulary) {
        let token = spelled(vocabulary, sampled.token);
        let mut top: BTreeMap<_, _> =
            sampled.top.iter().map(|&(id, logprob)| (spelled(vocabulary, id), logprob)).collect();
        // The token itself is always there, as in OpenAI's API.
        top.insert(token.clone(), sampled.logprob.unwrap_or_default());
        self.tokens.push(token);
        self.token_logprobs.push(sampled.logprob);
        self.top_logprobs.push(Some(top));
    }
}
