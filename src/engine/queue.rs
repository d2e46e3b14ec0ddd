//! Engines that take whole sequences and batch them themselves.

use std::time::Duration;

use crossbeam_channel::Receiver;

use super::{Job, Limits, SequenceError, SequenceId, StepError};
use crate::sampling::{Sampled, SamplingCapabilities};

/// Takes whole sequences, batches them into iterations, and decides which prefixes to share.
pub trait QueueEngine: Send {
    /// What it can hold and compute at once. Does not change while it lives.
    fn limits(&self) -> Limits;

    /// How much it should hold at once, running or queued.
    fn depth(&self) -> QueueDepth;

    /// Which sampling parameters it supports.
    fn capabilities(&self) -> SamplingCapabilities;

    /// Submits sequences, cancels others, and returns at once. Each sequence ends exactly once, cancelled or not: with
    /// its logits, its [`Generated::last`] tokens, or a failure.
    ///
    /// # Errors
    /// The engine's thread has ended.
    fn feed(&mut self, jobs: Vec<(SequenceId, Job)>, cancelled: &[SequenceId]) -> Result<(), StepError>;

    /// Where reports arrive. An error means that every sequence in flight is lost.
    fn reports(&self) -> &Receiver<Result<QueueReport, StepError>>;
}

/// How much a [`QueueEngine`] should hold at once: enough that it never waits for more, and little enough that an
/// urgent sequence soon has its turn. A sequence that exceeds it on its own is submitted when the engine holds nothing
/// else.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct QueueDepth {
    /// Positions read; a sequence that generates counts as one.
    pub reads: usize,
    /// Prompt tokens of the sequences that are scored.
    pub tokens: usize,
    /// Rows of logits that it reserves memory for: one for each position read, and for each token that a sequence
    /// may generate with log-probabilities.
    pub logit_rows: usize,
}

/// The progress of a [`QueueEngine`]'s sequences since its last report.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct QueueReport {
    /// Each sequence that was scored, and its logits, `[positions read, head rows]` in raw f32.
    pub scored: Vec<(SequenceId, Vec<f32>)>,
    /// What sequences generated.
    pub generated: Vec<Generated>,
    /// Sequences that failed on their own, and why.
    pub failed: Vec<(SequenceId, SequenceError)>,
    /// Finished sequences that found prompt tokens in the cache, and how many.
    pub cached: Vec<(SequenceId, usize)>,
    /// What the engine's iterations did, if it ran any.
    pub statistics: Option<IterationStatistics>,
}

/// What a sequence has generated since the last report that named it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Generated {
    /// The sequence.
    pub sequence: SequenceId,
    /// The tokens, including the one that ended it.
    pub tokens: Vec<Sampled>,
    /// Whether these are the last.
    pub last: bool,
}

/// A [`QueueEngine`]'s iterations since its last report, and its state after them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct IterationStatistics {
    /// Tokens computed.
    pub tokens: usize,
    /// How long the iterations took.
    pub elapsed: Duration,
    /// Sequences in the last iteration.
    pub sequences: usize,
    /// KV blocks that were reused from the cache.
    pub reused_blocks: usize,
    /// KV blocks in use.
    pub used_blocks: usize,
    /// KV blocks that are free.
    pub free_blocks: usize,
}
