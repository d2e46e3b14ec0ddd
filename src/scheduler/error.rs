//! [`Rejection`]: why a job was not answered with an output.

use std::fmt;
use std::time::Duration;

use crate::engine::{SequenceError, StepError};

/// Why a job was not answered with an output.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[expect(missing_docs, reason = "the messages name the fields")]
pub enum Rejection {
    /// There is nothing to run.
    #[error("the text has no tokens")]
    Empty,
    /// The queue is full.
    #[error("the server is at capacity: its queue holds at most {limit}; try again in {} s", retry_after.as_secs().max(1))]
    QueueFull {
        /// Which limit was met.
        limit: QueueLimit,
        /// When there should be room, from the present drain rate.
        retry_after: Duration,
    },
    /// The sequence is longer than the engine can hold.
    // Clients recognise a text that is too long by the words "this model's maximum context length is".
    #[error("the text has {tokens} tokens, and this model's maximum context length is {max_seq_len} tokens")]
    TooLong {
        /// Its tokens, those to generate included.
        tokens: usize,
        max_seq_len: usize,
    },
    /// The positions to read are missing, unsorted or beyond the prompt: the caller's mistake.
    #[error("read positions must be strictly ascending and below {prompt}, at least one")]
    Unreadable {
        /// Tokens of the prompt.
        prompt: usize,
    },
    /// The deadline cannot be met, so the work was not started.
    #[error("the deadline cannot be met: the result would be ready in about {} ms", estimate.as_millis())]
    DeadlineUnmeetable {
        /// Time until the answer, as estimated at arrival.
        estimate: Duration,
    },
    /// The deadline passed before the answer was ready.
    #[error("the deadline passed before the result was ready")]
    DeadlineExceeded,
    /// The engine failed on the sequence, or with it.
    #[error(transparent)]
    EngineFailed(#[from] EngineFailure),
    /// The engine made no progress.
    #[error("the engine made no progress for {} s", .0.as_secs())]
    EngineStalled(Duration),
    /// The server is shutting down.
    #[error("the server is shutting down")]
    ShuttingDown,
}

impl From<SequenceError> for Rejection {
    fn from(error: SequenceError) -> Self {
        Self::EngineFailed(error.into())
    }
}

/// What a queue holds at most.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum QueueLimit {
    /// This many requests.
    Requests(usize),
    /// Requests of this many tokens together.
    Tokens(usize),
}

impl fmt::Display for QueueLimit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Requests(most) => write!(f, "{most} requests"),
            Self::Tokens(most) => write!(f, "{most} tokens"),
        }
    }
}

/// How the engine failed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EngineFailure {
    /// It failed on this sequence alone.
    #[error(transparent)]
    Sequence(#[from] SequenceError),
    /// It failed, and lost every sequence in flight.
    #[error(transparent)]
    Step(#[from] StepError),
    /// It has failed and will not run again, for this reason.
    #[error("{0}")]
    GivenUp(String),
    /// It ended a text without its last token.
    #[error("the engine ended the sequence without its last token")]
    NoToken,
    /// The scheduler has ended, and its engine with it.
    #[error("the scheduler has ended")]
    SchedulerEnded,
}
