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
    /// Those of the message; absent unless they were asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) token_ids: Option<Vec<u32>>,
}

impl ChatChoice {
    /// A choice of a chunk, with this part of the message.
    pub(super) fn chunk(index: usize, part: Message) -> Self {
        Self { index, message: None, delta: Some(part), logprobs: None, finish_reason: None, token_ids: None }
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
    /// Null unless they were asked for.
    pub(super) prompt_logprobs: Option<PromptLogprobs>,
    /// The prompt's, in the first chunk of a stream.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) prompt_token_ids: Option<Vec<u32>>,
    /// Those of the text.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) token_ids: Option<Vec<u32>>,
}

/// Log-probabilities of a prompt's tokens in vLLM's form, by token id. Null for the first token.
pub(super) type PromptLogprobs = Vec<Option<BTreeMap<u32, PromptToken>>>;

/// A token that a prompt has, or that was likely in its place.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct PromptToken {
    logprob: f32,
    /// From 1 for the likeliest; null if it was not among those that were asked for.
    rank: Option<usize>,
    decoded_token: String,
}

/// The log-probabilities of a prompt, whose first token is not in `tokens`, with `top` of the likeliest tokens.
pub(super) fn prompt_logprobs(tokens: &[Sampled], top: usize, vocabulary: &Vocabulary) -> PromptLogprobs {
    let mut list = vec![None];
    for sampled in tokens {
        let mut entries = BTreeMap::new();
        let mut insert = |id, logprob, rank| {
            let decoded_token = spelled(vocabulary, id);
            entries.insert(id, PromptToken { logprob, rank, decoded_token });
        };
        insert(sampled.token, sampled.logprob.unwrap_or_default(), None);
        for (index, &(id, logprob)) in sampled.top.iter().enumerate() {
            if index < top || id == sampled.token {
                insert(id, logprob, Some(index + 1));
            }
        }
        list.push(Some(entries));
    }
    list
}

/// Log-probabilities of a completion, by token.
#[derive(Debug, Default, Serialize, ToSchema)]
pub(super) struct TextLogprobs {
    /// How many of the likeliest tokens are listed.
    #[serde(skip)]
    #[schema(ignore)]
    top: usize,
    /// First those of the prompt, if the answer starts with it; last the end token, if one came.
    tokens: Vec<String>,
    /// Null for the prompt's first token, which follows nothing.
    token_logprobs: Vec<Option<f32>>,
    top_logprobs: Vec<Option<BTreeMap<String, f32>>>,
    /// Where each token starts in the answer's text, in characters.
    text_offset: Vec<usize>,
}

/// The usage of finished sequences, whose prompts have `prompt_tokens` tokens in all.
pub(super) fn usage(prompt_tokens: usize, endings: &[Ending]) -> Usage {
    let completion_tokens = endings.iter().map(|ending| ending.tokens).sum();
    // Only the first sequence of a prompt shows what was cached before the request.
    let cached = endings.iter().map(|ending| ending.cached_tokens).min().flatten();
    Usage::new(prompt_tokens, completion_tokens, cached)
}

fn spelled(vocabulary: &Vocabulary, id: u32) -> String {
    String::from_utf8_lossy(vocabulary.bytes(id)).into_owned()
}

impl ChatLogprobs {
    /// The log-probabilities of tokens, with those of `top` of the likeliest ones.
    pub(super) fn new(tokens: &[Sampled], top: usize, vocabulary: &Vocabulary) -> Self {
        let mut content = Vec::with_capacity(tokens.len());
        for sampled in tokens {
            let top = sampled.top.iter().take(top).map(|&(id, logprob)| Token::new(id, logprob, vocabulary));
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
    /// An empty list, of tokens with `top` of the likeliest ones.
    pub(super) fn new(top: usize) -> Self {
        Self { top, ..Self::default() }
    }

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
        let mut top: BTreeMap<_, _> = sampled
            .top
            .iter()
            .take(self.top)
            .map(|&(id, logprob)| (spelled(vocabulary, id), logprob))
            .collect();
        // The token itself is always there, as in OpenAI's API.
        top.insert(token.clone(), sampled.logprob.unwrap_or_default());
        self.tokens.push(token);
        self.token_logprobs.push(sampled.logprob);
        self.top_logprobs.push(Some(top));
    }
}
