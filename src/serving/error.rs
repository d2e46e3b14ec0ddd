//! [`ServingError`]: every way in which a loaded model fails on one item.

use crate::prompt::PromptError;
use crate::reward::{RewardError, Unscorable};
use crate::sampling::UnsupportedSampling;
use crate::scheduler::Rejection;

/// What the sender of a request may do about a text that is too long.
pub(crate) const SHORTEN_OR_TRUNCATE: &str = "; reduce the length of the text, or set `truncation` to `left`";

/// Why a loaded model gave no score or no text.
///
/// The errors carry data, such as the index of a message or the limit that was exceeded, and name no field
/// of a request: the caller knows which field the text came from.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "the messages name the fields")]
pub enum ServingError {
    /// The conversation or text cannot be made into token ids.
    #[error(transparent)]
    Prompt(#[from] PromptError),
    /// The conversation lacks the tokens at which the model's scores are read.
    #[error(transparent)]
    Unscorable(#[from] Unscorable),
    /// The engine's output is not a score.
    #[error(transparent)]
    Reward(#[from] RewardError),
    /// The scheduler refused the work or could not finish it.
    #[error(transparent)]
    Rejected(#[from] Rejection),
    /// A conversation with a question about it is longer than the engine can hold.
    #[error(
        "the conversation with the question about it has at least {tokens} tokens, and this model's maximum context \
         length is {limit} tokens; shorten it"
    )]
    TooLongToAsk {
        /// Which of the questions it is.
        question: usize,
        /// Whether the question is longer than the conversation.
        mostly_question: bool,
        tokens: usize,
        limit: usize,
    },
    /// A prompt leaves too little room for the tokens to generate.
    #[error(
        "the prompt has {prompt} tokens and {wanted} may follow it, and this model's maximum context length is \
         {max_seq_len} tokens"
    )]
    NoRoom {
        /// Tokens of the prompt.
        prompt: usize,
        /// Tokens to generate, at least one.
        wanted: usize,
        max_seq_len: usize,
    },
    /// The engine's sampler does not support a sampling parameter.
    #[error(transparent)]
    UnsupportedSampling(#[from] UnsupportedSampling),
}

impl ServingError {
    /// Whether the item has more tokens than the engine takes.
    pub fn is_too_long(&self) -> bool {
        matches!(
            self,
            Self::NoRoom { .. }
                | Self::TooLongToAsk { .. }
                | Self::Prompt(PromptError::TooLong { .. } | PromptError::TooManyBytes { .. })
                | Self::Rejected(Rejection::TooLong { .. })
        )
    }

    /// Whether the item itself is at fault: it would fail again on any server with this model.
    pub fn is_items_own(&self) -> bool {
        match self {
            Self::Prompt(_)
            | Self::Unscorable(_)
            | Self::NoRoom { .. }
            | Self::TooLongToAsk { .. }
            | Self::UnsupportedSampling(_) => true,
            Self::Reward(error) => matches!(error, RewardError::NotFinite { .. }),
            Self::Rejected(rejection) => matches!(rejection, Rejection::Empty | Rejection::TooLong { .. }),
        }
    }
}
