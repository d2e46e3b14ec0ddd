//! In-flight batching: decides what waits, what runs, what is shared and what is rejected.
//!
//! One thread owns the queue, the in-flight batch and the engine; everything else talks to it
//! through a [`Handle`]. It knows tokens and logits, never messages.
//!
//! ```
//! use std::sync::Arc;
//!
//! use assay::engine::simulated::{SimulatedFactory, expected_logits};
//! use assay::engine::{Limits, PrefixSharing};
//! use assay::scheduler::{self, Job, Output, Priority, SchedulerOptions, Work};
//!
//! let limits =
//!     Limits { max_seq_len: 64, max_batch_size: 8, max_num_tokens: 64, kv_blocks: 16, tokens_per_block: 16 };
//! let engine = SimulatedFactory::new(limits, PrefixSharing::WithinIteration, 1);
//! let handle = scheduler::start(engine.into(), SchedulerOptions::default(), Arc::new(()))?;
//!
//! // The ticket is a future of the answer; dropping it would cancel the job.
//! let job = Job { tokens: [1, 2, 3].into(), work: Work::score(3), priority: Priority(0) };
//! let ticket = handle.submit(job, None)?;
//! let completed = tokio::runtime::Runtime::new()?.block_on(ticket)?;
//! assert_eq!(completed.output, Output::Logits(expected_logits(&[1, 2, 3], 1).into()));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod admission;
mod blocks;
pub mod core;
mod dispatcher;
mod drive;
mod error;
mod handle;
mod mailbox;
mod observer;
mod options;
mod prefix;
mod queue;
mod rate;
mod score_cache;
mod supervisor;
mod thread;

/// The locks that [`mailbox`] is written against.
mod sync {
    pub(super) use std::sync::{Mutex, MutexGuard, PoisonError};
}

pub use crate::engine::{Job, Priority, Work};
pub use admission::Admission;
pub use error::{EngineFailure, QueueLimit, Rejection};
pub use handle::{Handle, Ticket};
pub use observer::Observer;
pub use options::{OnFailure, SchedulerOptions};
pub use thread::start;

use std::sync::Arc;
use std::time::Duration;

use crate::engine::Limits;
use crate::sampling::Sampled;

/// Whether an engine of these limits can hold a job.
///
/// # Errors
/// [`Rejection::Empty`], [`Rejection::TooLong`] or [`Rejection::Unreadable`].
fn validate(job: &Job, limits: &Limits) -> Result<(), Rejection> {
    let prompt = job.tokens.len();
    if prompt == 0 {
        return Err(Rejection::Empty);
    }
    let (tokens, max_seq_len) = (job.work.max_len(prompt), limits.longest());
    if tokens > max_seq_len {
        return Err(Rejection::TooLong { tokens, max_seq_len });
    }
    match &job.work {
        Work::Score { read } => {
            let ascending = read.is_sorted_by(|a, b| a < b);
            let within = read.last().is_some_and(|&last| last < prompt);
            if ascending && within { Ok(()) } else { Err(Rejection::Unreadable { prompt }) }
        }
        Work::Generate(_) => Ok(()),
    }
}

/// What a job's sequence gave.
#[derive(Clone, Debug, PartialEq)]
pub enum Output {
    /// For [`Work::Score`]: raw logits, `[positions read, head rows]`.
    Logits(Arc<[f32]>),
    /// For [`Work::Generate`]: the tokens generated, including the end token.
    Tokens(Vec<u32>),
}

/// An answered job.
#[derive(Clone, Debug, PartialEq)]
pub struct Completed {
    /// What the sequence gave.
    pub output: Output,
    /// Prompt tokens whose keys and values were not computed for this job, but shared or found in the cache.
    pub cached_tokens: usize,
    /// Time from arrival until its first iteration.
    pub queue_time: Duration,
    /// Time from its first iteration until its output.
    pub engine_time: Duration,
}

/// What a job is answered with.
pub type JobResult = Result<Completed, Rejection>;
