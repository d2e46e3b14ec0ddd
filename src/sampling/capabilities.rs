//! What an engine's own sampler supports.

use super::Sampling;

/// Sampling parameters that an engine supports. An engine that leaves sampling to [`super::Sampler`]
/// supports [`SamplingCapabilities::ALL`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SamplingCapabilities {
    /// Largest [`Sampling::top_k`].
    pub top_k: usize,
    /// Maximum number of end tokens that [`Sampling::min_tokens`] can suppress.
    pub suppressed_end_tokens: usize,
    /// Whether it supports [`Sampling::allowed_tokens`].
    pub allowed_tokens: bool,
    /// Whether it supports [`Sampling::logit_bias`].
    pub logit_bias: bool,
    /// Whether it supports [`Sampling::prompt_logprobs`].
    pub prompt_logprobs: bool,
    /// Largest [`Sampling::max_tokens`] of a sequence with [`Sampling::logprobs`].
    pub max_logprobs_tokens: usize,
    /// Whether it supports [`Sampling::label_tokens`].
    pub label_tokens: bool,
}

/// A sampling parameter that an engine does not support.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum UnsupportedSampling {
    /// [`Sampling::top_k`] is too large.
    #[error("this engine supports top_k up to {max}")]
    TopK {
        /// Largest one supported.
        max: usize,
    },
    /// [`Sampling::min_tokens`] with too many [`Sampling::end_tokens`].
    #[error("this engine supports min_tokens with up to {max} end tokens, not {end_tokens}")]
    MinTokens {
        /// Maximum number of end tokens.
        max: usize,
        /// Number of end tokens that the sequence has.
        end_tokens: usize,
    },
    /// [`Sampling::allowed_tokens`].
    #[error("this engine does not support allowed_token_ids; use logit_bias")]
    AllowedTokens,
    /// [`Sampling::logit_bias`].
    #[error("this engine does not support logit_bias: its ranks do not divide the vocabulary evenly")]
    LogitBias,
    /// [`Sampling::logprobs`] of too many tokens.
    #[error("this engine returns log-probabilities of up to {max} tokens, not {max_tokens}")]
    LogprobsTokens {
        /// Maximum number of tokens.
        max: usize,
        /// [`Sampling::max_tokens`] of the sequence.
        max_tokens: usize,
    },
    /// [`Sampling::prompt_logprobs`].
    #[error("this engine does not return log-probabilities of a prompt")]
    PromptLogprobs,
    /// [`Sampling::label_tokens`].
    #[error("this engine does not return log-probabilities of chosen tokens")]
    LabelTokens,
}

impl SamplingCapabilities {
    /// Every parameter, without limits.
    pub const ALL: Self = Self {
        top_k: usize::MAX,
        suppressed_end_tokens: usize::MAX,
        allowed_tokens: true,
        logit_bias: true,
        prompt_logprobs: true,
        max_logprobs_tokens: usize::MAX,
        label_tokens: true,
    };

    /// Checks that the engine supports a sequence's parameters.
    ///
    /// # Errors
    /// The first parameter that it does not support.
    pub fn check(self, sampling: &Sampling) -> Result<(), UnsupportedSampling> {
        let Self {
            top_k,
            suppressed_end_tokens,
            allowed_tokens,
            logit_bias,
            prompt_logprobs,
            max_logprobs_tokens,
            label_tokens,
        } = self;
        if sampling.top_k > top_k {
            return Err(UnsupportedSampling::TopK { max: top_k });
        }
        let end_tokens = sampling.end_tokens.len();
        if sampling.min_tokens > 0 && end_tokens > suppressed_end_tokens {
            return Err(UnsupportedSampling::MinTokens { max: suppressed_end_tokens, end_tokens });
        }
        if !sampling.allowed_tokens.is_empty() && !allowed_tokens {
            return Err(UnsupportedSampling::AllowedTokens);
        }
        if !sampling.logit_bias.is_empty() && !logit_bias {
            return Err(UnsupportedSampling::LogitBias);
        }
        if sampling.prompt_logprobs && !prompt_logprobs {
            return Err(UnsupportedSampling::PromptLogprobs);
        }
        if sampling.logprobs.is_some() && sampling.max_tokens > max_logprobs_tokens {
            let max_tokens = sampling.max_tokens;
            return Err(UnsupportedSampling::LogprobsTokens { max: max_logprobs_tokens, max_tokens });
        }
        if !sampling.label_tokens.is_empty() && !label_tokens {
            return Err(UnsupportedSampling::LabelTokens);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_unsupported_parameter_is_reported() {
        let limited = SamplingCapabilities {
            top_k: 1024,
            suppressed_end_tokens: 1,
            allowed_tokens: false,
            logit_bias: false,
            prompt_logprobs: false,
            max_logprobs_tokens: 8,
            label_tokens: false,
        };
        let greedy = Sampling::greedy(4, vec![1, 2]);
        assert_eq!(limited.check(&greedy), Ok(()));
        let min_tokens = Sampling { min_tokens: 2, ..greedy.clone() };
        let one_end = Sampling { end_tokens: vec![1], ..min_tokens.clone() };
        assert_eq!(limited.check(&one_end), Ok(()));
        for (sampling, error) in [
            (Sampling { top_k: 1025, ..greedy.clone() }, UnsupportedSampling::TopK { max: 1024 }),
            (min_tokens, UnsupportedSampling::MinTokens { max: 1, end_tokens: 2 }),
            (Sampling { allowed_tokens: vec![1], ..greedy.clone() }, UnsupportedSampling::AllowedTokens),
            (Sampling { logit_bias: vec![(1, 0.5)], ..greedy.clone() }, UnsupportedSampling::LogitBias),
            (
                Sampling { logprobs: Some(0), max_tokens: 9, ..greedy.clone() },
                UnsupportedSampling::LogprobsTokens { max: 8, max_tokens: 9 },
            ),
            (Sampling { prompt_logprobs: true, ..greedy.clone() }, UnsupportedSampling::PromptLogprobs),
            (Sampling { label_tokens: vec![1], ..greedy.clone() }, UnsupportedSampling::LabelTokens),
        ] {
            assert_eq!(limited.check(&sampling), Err(error));
            assert_eq!(SamplingCapabilities::ALL.check(&sampling), Ok(()));
        }
    }
}
