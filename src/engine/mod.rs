//! Engines: what computes logits.
//!
//! [`Engine`] is the one trait between the scheduler and every engine. An engine is handed
//! [`Iteration`]s and answers each with a [`Report`] on a channel of its own, so that the scheduler
//! never blocks on one: it plans the next iteration while this one runs.

pub(crate) mod bridge;
pub mod cpu;
#[cfg(any(test, feature = "trtllm"))]
mod fan_out;
mod head_layers;
pub mod mmap;
pub mod simulated;
#[cfg(feature = "trtllm")]
pub mod trtllm;
mod weights;

use std::ops::Range;
use std::sync::Arc;

use crate::sampling::{Sampled, Sampling, SamplingCapabilities};
use crossbeam_channel::Sender;

/// Names a sequence for as long as it is in flight. Never used twice in one process.
pub type SequenceId = u64;

/// Index of a KV block in the engine's cache, `0..limits.kv_blocks`.
pub type BlockId = u32;

/// What an engine can hold and compute at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Longest sequence, prompt and generated tokens together.
    pub max_seq_len: usize,
    /// Most sequences in one iteration; of an engine with [`PrefixSharing::Own`], places read of those that
    /// it was fed, unless there is one sequence alone.
    pub max_batch_size: usize,
    /// Most tokens computed in one iteration.
    pub max_num_tokens: usize,
    /// KV blocks in the cache.
    pub kv_blocks: usize,
    /// Tokens that one KV block holds.
    pub tokens_per_block: usize,
}

impl Limits {
    /// KV blocks that a sequence of `tokens` tokens fills.
    pub fn blocks_for(&self, tokens: usize) -> usize {
        tokens.div_ceil(self.tokens_per_block)
    }

    /// Tokens of the longest sequence that fits, prompt and generated tokens together.
    pub fn longest(&self) -> usize {
        self.max_seq_len.min(self.kv_blocks * self.tokens_per_block)
    }
}

/// Which earlier work a sequence's blocks may reuse.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PrefixSharing {
    /// Blocks written by another chunk of the same iteration, and all earlier ones.
    WithinIteration,
    /// Only blocks that a finished iteration has written.
    Cached,
    /// Whatever the engine finds: it takes whole sequences and makes iterations of them itself.
    Own,
}

/// A whole sequence, for an engine that makes iterations itself.
#[derive(Clone, Debug, PartialEq)]
pub struct WholeSequence {
    /// Names it in reports.
    pub id: SequenceId,
    /// Token ids of the prompt; not empty.
    pub tokens: Arc<[u32]>,
    /// What to do after them.
    pub task: Task,
    /// How urgent it is, 0..=1; the higher goes first.
    pub priority: f32,
}

/// What to do with a [`WholeSequence`].
#[derive(Clone, Debug, PartialEq)]
pub enum Task {
    /// Give the logits after the tokens at these positions, ascending; at least one.
    Score(Arc<[usize]>),
    /// Generate tokens.
    Generate(Arc<Sampling>),
}

/// What a sequence has generated since the last report that named it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Generated {
    /// The sequence.
    pub sequence: SequenceId,
    /// The tokens; one that ended it included.
    pub tokens: Vec<Sampled>,
    /// Whether these are the last.
    pub last: bool,
}

/// What an engine that makes iterations itself says of those since its last report, and of now.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Statistics {
    /// Tokens computed.
    pub tokens: usize,
    /// Sequences in the last iteration.
    pub sequences: usize,
    /// KV blocks that were found and not computed again.
    pub reused_blocks: usize,
    /// KV blocks in use.
    pub used_blocks: usize,
    /// KV blocks that are free.
    pub free_blocks: usize,
}

/// One sequence's part of an iteration: a run of its tokens and where their keys and values go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Chunk {
    /// Whose tokens these are.
    pub sequence: SequenceId,
    /// Where they stand in [`Iteration::token_ids`].
    pub tokens: Range<usize>,
    /// Position in the sequence of the first of them.
    pub position: usize,
    /// Where the sequence's block table stands in [`Iteration::block_table`]. It covers positions
    /// `0..position + tokens.len()`, shared blocks included.
    pub blocks: Range<usize>,
    /// After which of these tokens the logits are wanted: their places in the chunk, ascending.
    pub logits: Vec<usize>,
}

/// A flat batch: token ids one after the other, cut into chunks. Padding cannot be written down.
///
/// Chunks stand in the order in which they may depend on each other: one that reads blocks which
/// another chunk of this iteration writes comes after it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Iteration {
    /// Token ids of all chunks, `[num_tokens]`.
    pub token_ids: Vec<u32>,
    /// Block tables of all chunks.
    pub block_table: Vec<BlockId>,
    /// The chunks.
    pub chunks: Vec<Chunk>,
}

/// What an iteration gave.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Outputs {
    /// Of each chunk that asked for logits: its sequence and they, `[tokens asked for, head rows]`,
    /// f32, raw.
    pub logits: Vec<(SequenceId, Vec<f32>)>,
    /// Of each that has none because the engine refused it alone: its sequence and the engine's words.
    pub failed: Vec<(SequenceId, String)>,
    /// Of sequences whose last word this is: prompt tokens whose keys and values were found. Only of an
    /// engine that makes iterations itself.
    pub cached: Vec<(SequenceId, usize)>,
    /// What sequences generated. Only of an engine that makes iterations itself.
    pub generated: Vec<Generated>,
    /// Of those iterations.
    pub statistics: Option<Statistics>,
    /// Time the engine took.
    pub elapsed: std::time::Duration,
}

/// What an engine says: the answer to an [`Iteration`], or of some of the sequences it was fed.
pub type Report = Result<Outputs, EngineError>;

/// Why an engine could not start, or could not compute.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EngineError {
    /// The engine cannot be loaded on this machine; the text says why and what to do.
    #[error("{0}")]
    Load(String),
    /// A step failed; every sequence in flight is lost. The text is the engine's own.
    #[error("the engine failed: {0}")]
    Step(String),
}

/// Computes iterations. Implementations run on a thread of their own.
pub trait Engine: Send {
    /// What it can hold and compute at once. Does not change while it lives.
    fn limits(&self) -> Limits;

    /// What sequences may share.
    fn sharing(&self) -> PrefixSharing;

    /// Most KV blocks to keep for their prefixes while no sequence uses them. Fewer than all of them
    /// where memory is taken only as blocks are first used.
    fn kept_blocks(&self) -> usize {
        self.limits().kv_blocks
    }

    /// What can be asked of it when it generates.
    fn reach(&self) -> SamplingCapabilities {
        SamplingCapabilities::ALL
    }

    /// Hands over an iteration and returns at once. One [`Report`] follows for each, in order, on
    /// the channel given to [`EngineFactory::start`]. At most one iteration runs at a time: the
    /// next is submitted after the report of the last.
    ///
    /// # Errors
    /// The engine's thread has ended.
    fn submit(&mut self, iteration: Iteration) -> Result<(), EngineError>;

    /// Of an engine with [`PrefixSharing::Own`], which gets no iterations: hands over whole
    /// sequences, names sequences that are no longer wanted, and returns at once. Reports come as
    /// there is something to say. Each sequence has exactly one last word, cancelled or not: its
    /// logits, its [`Generated::last`] tokens, or a failure.
    ///
    /// # Errors
    /// The engine's thread has ended.
    fn feed(&mut self, _: Vec<WholeSequence>, _cancelled: &[SequenceId]) -> Result<(), EngineError> {
        Err(EngineError::Step("it takes iterations, not whole sequences".into()))
    }
}

/// Starts an engine, and starts it again after a failure.
pub trait EngineFactory: Send {
    /// Loads the engine; its reports go to `reports`, which holds one.
    ///
    /// # Errors
    /// [`EngineError::Load`] with a sentence that says what to do.
    fn start(&mut self, reports: Sender<Report>) -> Result<Box<dyn Engine>, EngineError>;
}
