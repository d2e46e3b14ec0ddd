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

use crate::engine::Limits;

/// Priority classes; the lower value goes first. Requests that say nothing are `Priority(0)`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Priority(pub i8);

/// What to do with a sequence.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Work {
    /// Compute the logits after the last token.
    Score,
    /// Generate tokens greedily until one of `stop` or `max_tokens`.
    Generate {
        /// Most tokens to generate; at least 1.
        max_tokens: usize,
        /// Token ids that end the sequence.
        stop: Vec<u32>,
    },
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
    /// Tokens that a prompt of `prompt` tokens may come to.
    pub fn max_len(&self, prompt: usize) -> usize {
        match self {
            Self::Score => prompt,
            Self::Generate { max_tokens, .. } => prompt.saturating_add(*max_tokens.max(&1)),
        }
    }

    /// Whether an engine of these limits can hold it after a prompt of `prompt` tokens.
    ///
    /// # Errors
    /// [`Rejection::Empty`] or [`Rejection::TooLong`].
    pub fn check(&self, prompt: usize, limits: &Limits) -> Result<(), Rejection> {
        let max_seq_len = limits.max_seq_len.min(limits.kv_blocks * limits.tokens_per_block);
        match self.max_len(prompt) {
            _ if prompt == 0 => Err(Rejection::Empty),
            tokens if tokens > max_seq_len => Err(Rejection::TooLong { tokens, max_seq_len }),
            _ => Ok(()),
        }
    }
}

/// What a sequence gave.
#[derive(Clone, Debug, PartialEq)]
pub enum Output {
    /// Of [`Work::Score`]: raw logits, `[head rows]`.
    Logits(Arc<[f32]>),
    /// Of [`Work::Generate`]: the tokens generated, the stop token included.
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
