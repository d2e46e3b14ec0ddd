//! Log-probabilities of tokens, in the formats of chats, completions and prompts.

use std::collections::BTreeMap;

use serde::Serialize;
use utoipa::ToSchema;

use crate::prompt::Vocabulary;
use crate::sampling::Sampled;

/// How log-probabilities of a choice are written.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct LogprobStyle {
    /// How many of the likeliest tokens are listed beside each.
    pub(super) top: usize,
    /// Whether tokens that the request names are listed in their place.
    pub(super) labels: bool,
    /// Whether a token is written as `token_id:` and its id, as vLLM does.
    pub(super) as_ids: bool,
}

impl LogprobStyle {
    /// The tokens to list beside `sampled`.
    fn listed(self, sampled: &Sampled) -> &[(u32, f32)] {
        let count = if self.labels { sampled.top.len() } else { self.top.min(sampled.top.len()) };
        &sampled.top[..count]
    }

    fn spelled(self, vocabulary: &Vocabulary, id: u32) -> String {
        if self.as_ids { format!("token_id:{id}") } else { spelled(vocabulary, id) }
    }
}

fn spelled(vocabulary: &Vocabulary, id: u32) -> String {
    String::from_utf8_lossy(vocabulary.bytes(id)).into_owned()
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

impl ChatLogprobs {
    pub(super) fn new(tokens: &[Sampled], style: LogprobStyle, vocabulary: &Vocabulary) -> Self {
        let write = |id, logprob| Token {
            token: style.spelled(vocabulary, id),
            logprob,
            bytes: vocabulary.bytes(id).to_vec(),
        };
        let mut content = Vec::with_capacity(tokens.len());
        for sampled in tokens {
            let logprob = sampled.logprob.unwrap_or_default();
            let listed = style.listed(sampled);
            let mut top_logprobs: Vec<_> = listed.iter().map(|&(id, logprob)| write(id, logprob)).collect();
            // Named tokens come with the chosen one, as in vLLM.
            if style.labels && listed.iter().all(|(id, _)| *id != sampled.token) {
                top_logprobs.insert(0, write(sampled.token, logprob));
            }
            content.push(ChatToken { token: write(sampled.token, logprob), top_logprobs });
        }
        Self { content }
    }
}

/// Log-probabilities of a prompt's tokens in vLLM's format, by token id. Null for the first token.
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
    #[serde(skip)]
    #[schema(ignore)]
    style: LogprobStyle,
    /// First those of the prompt, if the choice starts with it; last the end token, if one came.
    tokens: Vec<String>,
    /// Null for the prompt's first token, which follows nothing.
    token_logprobs: Vec<Option<f32>>,
    top_logprobs: Vec<Option<BTreeMap<String, f32>>>,
    /// Where each token starts in the choice's text, in characters.
    text_offset: Vec<usize>,
}

impl TextLogprobs {
    /// An empty list.
    pub(super) fn new(style: LogprobStyle) -> Self {
        Self { style, ..Self::default() }
    }

    /// Adds the tokens of a prompt that the choice shows as `text`: the first, which has no log-probability,
    /// and the rest. Tokens that the tokenizer put before the text have the offset 0.
    pub(super) fn push_prompt(&mut self, first: u32, rest: &[Sampled], text: &str, vocabulary: &Vocabulary) {
        self.tokens.push(self.style.spelled(vocabulary, first));
        self.token_logprobs.push(None);
        self.top_logprobs.push(None);
        let mut lengths = vec![characters(vocabulary, first)];
        for sampled in rest {
            self.push_token(sampled, vocabulary);
            lengths.push(characters(vocabulary, sampled.token));
        }
        let all: usize = lengths.iter().sum();
        let before = all.saturating_sub(text.chars().count());
        let mut start = 0;
        for length in lengths {
            self.text_offset.push(usize::saturating_sub(start, before));
            start += length;
        }
    }

    /// Adds tokens whose text starts at the character `offset`, which moves to their end.
    pub(super) fn push(&mut self, tokens: &[Sampled], vocabulary: &Vocabulary, offset: &mut usize) {
        for sampled in tokens {
            self.push_token(sampled, vocabulary);
            self.text_offset.push(*offset);
            *offset += characters(vocabulary, sampled.token);
        }
    }

    fn push_token(&mut self, sampled: &Sampled, vocabulary: &Vocabulary) {
        let token = self.style.spelled(vocabulary, sampled.token);
        let listed = self.style.listed(sampled).iter();
        let mut top: BTreeMap<_, _> =
            listed.map(|&(id, logprob)| (self.style.spelled(vocabulary, id), logprob)).collect();
        // The token itself is always there, as in OpenAI's API.
        top.insert(token.clone(), sampled.logprob.unwrap_or_default());
        self.tokens.push(token);
        self.token_logprobs.push(sampled.logprob);
        self.top_logprobs.push(Some(top));
    }
}

/// Characters of the token in the text of a choice.
fn characters(vocabulary: &Vocabulary, id: u32) -> usize {
    String::from_utf8_lossy(vocabulary.bytes(id)).chars().count()
}
