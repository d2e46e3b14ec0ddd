//! What is asked of an engine: token ids, what to do with them, and how urgent that is.

use std::sync::Arc;

use crate::sampling::Sampling;

/// A priority class; lower values go first. The default is `Priority(0)`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Priority(pub i8);

impl Priority {
    /// The class on a scale from 0 to 1, where the higher goes first.
    pub fn urgency(self) -> f32 {
        0.5 - f32::from(self.0) / 256.0
    }
}

/// What to do with a prompt.
#[derive(Clone, Debug, PartialEq)]
pub enum Work {
    /// Compute the logits after some of the prompt's tokens.
    Score {
        /// Their positions in the prompt, strictly ascending; at least one.
        read: Arc<[usize]>,
    },
    /// Generate tokens.
    Generate(Arc<Sampling>),
}

impl Work {
    /// The logits after the last token of a prompt of `prompt` tokens.
    pub fn score(prompt: usize) -> Self {
        Self::Score { read: [prompt.saturating_sub(1)].into() }
    }

    /// Up to `max_tokens` tokens, each the most likely, ending with one of `end_tokens`.
    pub fn greedy(max_tokens: usize, end_tokens: Vec<u32>) -> Self {
        Self::Generate(Arc::new(Sampling::greedy(max_tokens, end_tokens)))
    }

    /// The longest that a prompt of `prompt` tokens may become, in tokens.
    pub fn max_len(&self, prompt: usize) -> usize {
        match self {
            Self::Score { .. } => prompt,
            Self::Generate(sampling) => prompt.saturating_add(sampling.max_tokens.max(1)),
        }
    }

    /// Maximum number of tokens that are streamed to the client after a prompt of `prompt` tokens.
    pub(crate) fn max_streamed_tokens(&self, prompt: usize) -> usize {
        match self {
            Self::Score { .. } => 0,
            Self::Generate(sampling) if sampling.prompt_logprobs => self.max_len(prompt),
            Self::Generate(sampling) => sampling.max_tokens.max(1),
        }
    }

    /// Whether the job needs the logits after every token of the prompt, over the whole vocabulary.
    pub(crate) fn wants_prompt_logprobs(&self) -> bool {
        matches!(self, Self::Generate(sampling) if sampling.prompt_logprobs)
    }

    pub(crate) fn generates(&self) -> bool {
        matches!(self, Self::Generate(_))
    }
}

/// A sequence to run.
#[derive(Clone, Debug, PartialEq)]
pub struct Job {
    /// Token ids of the whole prompt; not empty.
    pub tokens: Arc<[u32]>,
    /// What to do with them.
    pub work: Work,
    /// How urgent it is.
    pub priority: Priority,
}
