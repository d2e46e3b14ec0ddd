//! How a sequence is generated: plain data, for the sampler of [`crate::generate`] and for engines
//! that sample by themselves.

use std::ops::RangeInclusive;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// What [`Sampling::temperature`] may be.
pub const TEMPERATURES: RangeInclusive<f32> = 0.0..=100.0;
/// What [`Sampling::top_p`] may be.
pub const TOP_PS: RangeInclusive<f32> = 1e-6..=1.0;
/// What [`Sampling::min_p`] may be.
pub const MIN_PS: RangeInclusive<f32> = 0.0..=1.0;
/// What [`Sampling::repetition_penalty`] may be.
pub const REPETITION_PENALTIES: RangeInclusive<f32> = 0.01..=100.0;

/// How a sequence's tokens are chosen, and where it ends.
///
/// Logits are changed in the order of the fields, from the bias on.
#[derive(Clone, Debug, PartialEq)]
pub struct Sampling {
    /// Most tokens to generate; at least 1.
    pub max_tokens: usize,
    /// Tokens before which no end token is chosen.
    pub min_tokens: usize,
    /// Token ids that end the sequence; the one that does is its last token.
    pub end_tokens: Vec<u32>,
    /// What is added to the logits of some tokens.
    pub logit_bias: Vec<(u32, f32)>,
    /// Factor by which tokens of the prompt or of the answer become less likely, above 0: positive
    /// logits are divided by it, others multiplied. 1: off.
    pub repetition_penalty: f32,
    /// Subtracted from the logit of every token of the answer for each time that it came.
    pub frequency_penalty: f32,
    /// Subtracted from the logit of every token of the answer.
    pub presence_penalty: f32,
    /// What logits are divided by. 0: the most likely token is chosen.
    pub temperature: f32,
    /// Tokens less likely than this fraction of the most likely one's probability are left out, 0..=1.
    pub min_p: f32,
    /// How many of the most likely tokens are left in. 0: all.
    pub top_k: usize,
    /// The most likely tokens are left in whose probabilities sum to this, above 0 and up to 1.
    pub top_p: f32,
    /// What the choice follows from: the same seed gives the same tokens, in whatever company.
    pub seed: u64,
    /// Whether log-probabilities are wanted, and of how many of the most likely tokens besides.
    pub logprobs: Option<usize>,
    /// Whether those of the prompt's tokens are wanted too, but for the first, which follows nothing.
    pub prompt_logprobs: bool,
}

impl Sampling {
    /// The most likely token each time, up to `max_tokens` or one of `end_tokens`.
    pub fn greedy(max_tokens: usize, end_tokens: Vec<u32>) -> Self {
        Self {
            max_tokens,
            min_tokens: 0,
            end_tokens,
            logit_bias: Vec::new(),
            repetition_penalty: 1.0,
            frequency_penalty: 0.0,
            presence_penalty: 0.0,
            temperature: 0.0,
            min_p: 0.0,
            top_k: 0,
            top_p: 1.0,
            seed: 0,
            logprobs: None,
            prompt_logprobs: false,
        }
    }

    /// Whether a sequence ends with the last of `generated` tokens, which is `token`.
    pub fn ends(&self, generated: usize, token: u32) -> bool {
        generated >= self.max_tokens || self.end_tokens.contains(&token)
    }
}

/// What a model's makers recommend of [`Sampling`], for requests that do not say.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(default, deny_unknown_fields)]
pub struct SamplingDefaults {
    /// [`Sampling::temperature`]; 0 where tokens are not to be drawn.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub temperature: Option<f32>,
    /// [`Sampling::top_k`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub top_k: Option<usize>,
    /// [`Sampling::top_p`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub top_p: Option<f32>,
    /// [`Sampling::min_p`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub min_p: Option<f32>,
    /// [`Sampling::repetition_penalty`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub repetition_penalty: Option<f32>,
    /// [`Sampling::max_tokens`] of an answer to a conversation.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_tokens: Option<usize>,
}

impl SamplingDefaults {
    /// Whether nothing is recommended.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// `temperature 0.6, top_p 0.95`; nothing where nothing is recommended.
impl std::fmt::Display for SamplingDefaults {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let float = |value: Option<f32>| value.map(|value| value.to_string());
        let whole = |value: Option<usize>| value.map(|value| value.to_string());
        let told = [
            ("temperature", float(self.temperature)),
            ("top_k", whole(self.top_k)),
            ("top_p", float(self.top_p)),
            ("min_p", float(self.min_p)),
            ("repetition_penalty", float(self.repetition_penalty)),
            ("max_tokens", whole(self.max_tokens)),
        ];
        let told = told.iter().filter_map(|(name, value)| Some(format!("{name} {}", value.as_ref()?)));
        f.write_str(&told.collect::<Vec<_>>().join(", "))
    }
}

/// A token that was generated, or one of the prompt that was looked up.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Sampled {
    /// Its id.
    pub token: u32,
    /// Its log-probability by the model's logits as they were, if [`Sampling::logprobs`].
    pub logprob: Option<f32>,
    /// The most likely tokens there and their log-probabilities, most likely first.
    pub top: Vec<(u32, f32)>,
}
