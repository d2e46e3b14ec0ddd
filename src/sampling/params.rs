//! Sampling parameters: plain data, for [`super::Sampler`] and for engines that sample themselves.

use std::ops::RangeInclusive;

/// Valid values of [`Sampling::temperature`].
pub const TEMPERATURES: RangeInclusive<f32> = 0.0..=100.0;
/// Valid values of [`Sampling::top_p`].
pub const TOP_PS: RangeInclusive<f32> = 1e-6..=1.0;
/// Valid values of [`Sampling::min_p`].
pub const MIN_PS: RangeInclusive<f32> = 0.0..=1.0;
/// Valid values of [`Sampling::repetition_penalty`].
pub const REPETITION_PENALTIES: RangeInclusive<f32> = 1e-9..=100.0;

/// How a sequence's tokens are chosen, and where it ends.
///
/// From `allowed_tokens` on, the fields are in the order in which they change the logits.
#[derive(Clone, Debug, PartialEq)]
pub struct Sampling {
    /// Maximum number of tokens to generate; at least 1.
    pub max_tokens: usize,
    /// Minimum number of tokens to generate before an end token.
    pub min_tokens: usize,
    /// Token ids that end the sequence; the one that ends it is its last token.
    pub end_tokens: Vec<u32>,
    /// The only tokens to choose from; all if empty.
    pub allowed_tokens: Vec<u32>,
    /// Values to add to the logits of some tokens.
    pub logit_bias: Vec<(u32, f32)>,
    /// Factor that makes tokens of the prompt and of the response less likely: positive logits are
    /// divided by it, others multiplied. Above 0; 1 changes nothing.
    pub repetition_penalty: f32,
    /// Subtracted from the logit of every token of the response, once for each occurrence.
    pub frequency_penalty: f32,
    /// Subtracted from the logit of every token of the response, once.
    pub presence_penalty: f32,
    /// Divisor of the logits; 0 chooses the most likely token.
    pub temperature: f32,
    /// Excludes tokens that are less likely than this fraction of the most likely token's probability,
    /// 0 to 1.
    pub min_p: f32,
    /// Number of most likely tokens to choose from; 0 for all.
    pub top_k: usize,
    /// Chooses from the most likely tokens whose probabilities sum to this; above 0, up to 1.
    pub top_p: f32,
    /// Seed of the random numbers. One seed gives the same tokens whatever else is in the batch.
    pub seed: u64,
    /// Whether to return log-probabilities, and of how many of the most likely tokens in addition.
    pub logprobs: Option<usize>,
    /// Tokens whose log-probabilities to return in place of those of the most likely tokens, in this order; none
    /// if empty. It needs [`Sampling::logprobs`].
    pub label_tokens: Vec<u32>,
    /// Whether to return those of the prompt's tokens too, except for the first, which has none.
    pub prompt_logprobs: bool,
}

impl Sampling {
    /// Chooses the most likely token each time, up to `max_tokens` or one of `end_tokens`.
    pub fn greedy(max_tokens: usize, end_tokens: Vec<u32>) -> Self {
        Self {
            max_tokens,
            min_tokens: 0,
            end_tokens,
            allowed_tokens: Vec::new(),
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
            label_tokens: Vec::new(),
            prompt_logprobs: false,
        }
    }

    /// Whether a sequence ends after `generated` tokens, the last of which is `token`.
    pub fn ends(&self, generated: usize, token: u32) -> bool {
        generated >= self.max_tokens || self.end_tokens.contains(&token)
    }
}
