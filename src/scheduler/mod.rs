//! In-flight batching: what waits, what runs, what is shared, what is refused.
//!
//! One thread owns the queue, the in-flight batch and the engine; everything else talks to it
//! through a [`Handle`]. It knows tokens and logits, never messages.

mod blocks;
pub mod core;
mod desk;
mod handle;
mod mailbox;
mod observer;
mod options;
mod prefix;
mod queue;
mod rate;
mod scores;
mod supervisor;
mod thread;

/// The locks that [`mailbox`] is written against.
mod sync {
    pub(super) use std::sync::{Mutex, MutexGuard, PoisonError};
}

pub use handle::{Handle, Ticket};
pub use observer::Observer;
pub use options::{OnFailure, Options};
pub use thread::start;

use std::sync::Arc;
use std::time::{Duration, Instant};

use self::scores::Text;
use crate::engine::Limits;
use crate::sampling::{Sampled, Sampling};

/// Priority classes; the lower value goes first. Requests that say nothing are `Priority(0)`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Priority(pub i8);

/// What to do with a sequence.
#[derive(Clone, Debug, PartialEq)]
pub enum Work {
    /// Compute the logits after some of the prompt's tokens.
    Score {
        /// Their positions in the prompt, ascending; at least one.
        read: Arc<[usize]>,
    },
    /// Generate tokens; each goes to [`Ticket::next_token`] as soon as it is chosen, behind the prompt's if
    /// their log-probabilities are wanted.
    Generate(Arc<Sampling>),
}

/// A sequence to run, and how urgent it is.
#[derive(Clone, Debug)]
pub struct Job {
    /// Token ids of the whole prompt; not empty.
    pub tokens: Arc<[u32]>,
    /// What to do with them.
    pub work: Work,
    /// Class.
    pub priority: Priority,
    /// When the answer is of no more use.
    pub deadline: Option<Instant>,
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

    /// Tokens that a prompt of `prompt` tokens may come to.
    pub fn max_len(&self, prompt: usize) -> usize {
        match self {
            Self::Score { .. } => prompt,
            Self::Generate(sampling) => prompt.saturating_add(sampling.max_tokens.max(1)),
        }
    }

    /// Tokens that its ticket gives after a prompt of `prompt` tokens, at most.
    fn told(&self, prompt: usize) -> usize {
        match self {
            Self::Score { .. } => 0,
            Self::Generate(sampling) if sampling.prompt_logprobs => self.max_len(prompt),
            Self::Generate(sampling) => sampling.max_tokens.max(1),
        }
    }

    /// Whether the logits after every token of its prompt are wanted, of the whole vocabulary.
    fn looks_prompt_up(&self) -> bool {
        matches!(self, Self::Generate(sampling) if sampling.prompt_logprobs)
    }

    /// What a score of `tokens` depends on; `None` of what generates.
    fn text(&self, tokens: &Arc<[u32]>) -> Option<Text> {
        match self {
            Self::Score { read } => Some(Text { tokens: tokens.clone(), read: read.clone() }),
            Self::Generate(_) => None,
        }
    }

    /// Whether an engine of these limits can hold it after a prompt of `prompt` tokens.
    ///
    /// # Errors
    /// [`Rejection::Empty`], [`Rejection::TooLong`] or [`Rejection::Unreadable`].
    pub fn check(&self, prompt: usize, limits: &Limits) -> Result<(), Rejection> {
        let max_seq_len = limits.longest();
        match self.max_len(prompt) {
            _ if prompt == 0 => Err(Rejection::Empty),
            tokens if tokens > max_seq_len => Err(Rejection::TooLong { tokens, max_seq_len }),
            _ => self.check_read(prompt),
        }
    }

    fn check_read(&self, prompt: usize) -> Result<(), Rejection> {
        match self {
            Self::Score { read } if read.is_empty() || !read.is_sorted_by(|a, b| a < b) => {
                Err(Rejection::Unreadable { prompt })
            }
            Self::Score { read } if read.last().is_some_and(|&last| last >= prompt) => {
                Err(Rejection::Unreadable { prompt })
            }
            _ => Ok(()),
        }
    }
}

/// What a sequence gave.
#[derive(Clone, Debug, PartialEq)]
pub enum Output {
    /// Of [`Work::Score`]: raw logits, `[positions read, head rows]`.
    Logits(Arc<[f32]>),
    /// Of [`Work::Generate`]: the tokens generated, the end token included.
    Tokens(Vec<u32>),
}

/// An answered job.
#[derive(Clone, Debug, PartialEq)]
pub struct Completed {
    /// What the sequence gave.
    pub output: Output,
    /// Prompt tokens whose keys and values were not computed for this job: shared or cached.
    pub cached_tokens: usize,
    /// Time from arrival until its first iteration.
    pub queue_time: Duration,
    /// Time from its first iteration until its output.
    pub engine_time: Duration,
}

/// What a job is answered with.
pub type Answer = Result<Completed, Rejection>;

/// Why a job was not answered with an output.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Rejection {
    /// There is nothing to run.
    #[error("the text has no tokens")]
    Empty,
    /// The queue is full.
    #[error("the server is at capacity: its queue holds {limit}; try again in {} s", retry_after.as_secs().max(1))]
    QueueFull {
        /// Which limit was met, for example `4096 requests`.
        limit: String,
        /// When there should be room, from the present drain rate.
        retry_after: Duration,
    },
    /// The sequence is longer than the engine can hold.
    #[error("the text has {tokens} tokens and the engine takes at most {max_seq_len}")]
    TooLong {
        /// Its tokens, those to generate included.
        tokens: usize,
        /// The engine's limit.
        max_seq_len: usize,
    },
    /// The positions to read are none, out of order or beyond the prompt: a mistake of the caller's.
    #[error("scores are to be read at positions that a text of {prompt} tokens does not have in this order")]
    Unreadable {
        /// Tokens of the prompt.
        prompt: usize,
    },
    /// The deadline cannot be met, so the work was not begun.
    #[error("the deadline cannot be met: the answer would be ready in about {} ms", estimate.as_millis())]
    DeadlineUnmeetable {
        /// Time until the answer, as estimated at arrival.
        estimate: Duration,
    },
    /// The deadline passed before the answer was ready.
    #[error("the deadline passed before the answer was ready")]
    DeadlineExceeded,
    /// The engine failed while the sequence was in flight.
    #[error("{0}")]
    EngineFailed(String),
    /// The engine made no progress.
    #[error("the engine made no progress for {} s", .0.as_secs())]
    EngineStalled(Duration),
    /// The server is going away.
    #[error("the server is shutting down")]
    ShuttingDown,
}
