//! How a sequence is generated: plain data, for the sampler of [`crate::sampling`] and for engines
//! that sample by themselves.

use std::ops::RangeInclusive;

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

/// How far an engine's sampler goes. One that leaves sampling to us goes all the way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reach {
    /// Largest [`Sampling::top_k`].
    pub top_k: usize,
    /// Most end tokens that [`Sampling::min_tokens`] holds back.
    pub held_back: usize,
    /// Whether it takes a [`Sampling::logit_bias`].
    pub logit_bias: bool,
    /// Whether it gives [`Sampling::prompt_logprobs`].
    pub prompt_logprobs: bool,
}

impl Reach {
    /// All the way.
    pub const ALL: Self =
        Self { top_k: usize::MAX, held_back: usize::MAX, logit_bias: true, prompt_logprobs: true };

    /// Whether a sequence can be generated so.
    ///
    /// # Errors
    /// The field of a request that asks for too much, and a sentence to its sender.
    pub fn check(self, sampling: &Sampling) -> Result<(), (&'static str, String)> {
        let Self { top_k, held_back, logit_bias, prompt_logprobs } = self;
        if sampling.top_k > top_k {
            let reason = format!("must be up to {top_k} on this engine, or -1 for all tokens");
            return Err(("top_k", reason));
        }
        let ends = sampling.end_tokens.len();
        if sampling.min_tokens > 0 && ends > held_back {
            let reason = format!(
                "holds back {held_back} end token at most on this engine, and here are {ends}; leave it out, or send \
                 ignore_eos"
            );
            return Err(("min_tokens", reason));
        }
        if !sampling.logit_bias.is_empty() && !logit_bias {
            let reason =
                "cannot be given to this engine, whose ranks do not divide the vocabulary; leave it out";
            return Err(("logit_bias", reason.to_owned()));
        }
        if sampling.prompt_logprobs && !prompt_logprobs {
            let reason = "with log-probabilities is not done by this engine: it gives none of a prompt; leave out echo \
                          or logprobs";
            return Err(("echo", reason.to_owned()));
        }
        Ok(())
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

impl Sampled {
    /// A token chosen of raw `logits`, `[vocabulary]`, with its log-probability and those of the `count`
    /// likeliest.
    pub fn of(token: u32, logits: &[f32], count: usize) -> Self {
        let highest = f64::from(logits.iter().copied().fold(f32::NEG_INFINITY, f32::max));
        let sum: f64 = logits.iter().map(|&logit| (f64::from(logit) - highest).exp()).sum();
        let normalizer = highest + sum.ln();
        let logprob = |token: u32| {
            let logit = logits.get(token as usize).copied().unwrap_or(f32::NEG_INFINITY);
            (f64::from(logit) - normalizer) as f32
        };
        let top = likeliest(logits, count).into_iter().map(|token| (token, logprob(token))).collect();
        Self { token, logprob: Some(logprob(token)), top }
    }
}

/// The `count` tokens of the highest logits, highest first; of equals the first.
fn likeliest(logits: &[f32], count: usize) -> Vec<u32> {
    let mut best: Vec<(u32, f32)> = Vec::with_capacity(count + 1);
    for (token, &logit) in (0..).zip(logits) {
        if best.len() < count || best.last().is_some_and(|last| logit > last.1) {
            let place = best.partition_point(|known| known.1 >= logit);
            best.insert(place, (token, logit));
            best.truncate(count);
        }
    }
    best.into_iter().map(|(token, _)| token).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_sampler_cannot_do_is_told_by_the_field_that_asks_for_it() {
        let reach = Reach { top_k: 1024, held_back: 1, logit_bias: false, prompt_logprobs: false };
        let greedy = Sampling::greedy(4, vec![1, 2]);
        assert_eq!(reach.check(&greedy), Ok(()));
        let held = Sampling { min_tokens: 2, ..greedy.clone() };
        let one_end = Sampling { end_tokens: vec![1], ..held.clone() };
        assert_eq!(reach.check(&one_end), Ok(()));
        for (sampling, field) in [
            (Sampling { top_k: 1025, ..greedy.clone() }, "top_k"),
            (held, "min_tokens"),
            (Sampling { logit_bias: vec![(1, 0.5)], ..greedy.clone() }, "logit_bias"),
            (Sampling { prompt_logprobs: true, ..greedy.clone() }, "echo"),
        ] {
            assert_eq!(reach.check(&sampling).unwrap_err().0, field);
            assert_eq!(Reach::ALL.check(&sampling), Ok(()));
        }
    }
}
