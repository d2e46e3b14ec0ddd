//! Generated text in the form of OpenAI's answers.

use std::collections::BTreeMap;

use serde::Serialize;
use utoipa::ToSchema;

use crate::prompt::Vocabulary;
use crate::sampling::Sampled;
use crate::serving::Ending;

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
    /// Those of the prompt first, if the answer begins with it; then the end token too, if one came.
    tokens: Vec<String>,
    /// Null of the prompt's first token, which follows nothing.
    token_logprobs: Vec<Option<f32>>,
    top_logprobs: Vec<Option<BTreeMap<String, f32>>>,
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

fn spelled(vocabulary: &Vocabulary, id: u32) -> String {
    String::from_utf8_lossy(vocabulary.bytes(id)).into_owned()
}

impl ChatLogprobs {
    pub(super) fn new(tokens: &[Sampled], vocabulary: &Vocabulary) -> Self {
        let token = |(id, logprob): (u32, f32)| Token {
            token: spelled(vocabulary, id),
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
    /// Adds the tokens of a prompt that the answer shows as `text`: its first, and the rest, looked up. What
    /// the tokenizer put before the text takes no place in it.
    pub(super) fn push_prompt(&mut self, first: u32, rest: &[Sampled], text: &str, vocabulary: &Vocabulary) {
        self.tokens.push(spelled(vocabulary, first));
        self.token_logprobs.push(None);
        self.top_logprobs.push(None);
        rest.iter().for_each(|sampled| self.push_token(sampled, vocabulary));
        let ends: Vec<usize> = ends(&self.tokens).collect();
        let length = text.chars().count();
        let before = ends.last().map_or(0, |all| all.saturating_sub(length));
        let begins = std::iter::once(&0).chain(&ends).take(ends.len());
        self.text_offset = begins.map(|begin| begin.saturating_sub(before)).collect();
    }

    /// Adds tokens whose text begins at the character `offset`, which moves behind them.
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

/// Where each of the tokens ends, in characters.
fn ends(tokens: &[String]) -> impl Iterator<Item = usize> + '_ {
    tokens.iter().scan(0, |end, token| {
        *end += token.chars().count();
        Some(*end)
    })
}
