//! How a sequence is generated: plain data, for the sampler of [`crate::generate`] and for engines
//! that sample by themselves.

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
        }
    }

    /// Whether a sequence ends with the last of `generated` tokens, which is `token`.
    pub fn ends(&self, generated: usize, token: u32) -> bool {
        generated >= self.max_tokens || self.end_tokens.contains(&token)
    }
}

/// A token that was generated.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Sampled {
    /// Its id.
    pub token: u32,
    /// Its log-probability by the model's logits as they were, if [`Sampling::logprobs`].
    pub logprob: Option<f32>,
    /// The most likely tokens there and their log-probabilities, most likely first.
    pub top: Vec<(u32, f32)>,
}
