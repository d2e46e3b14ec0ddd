//! Engines: what computes logits.
//!
//! There are two kinds, by who forms the batches. A [`StepEngine`] is handed one [`Iteration`] at a time, which
//! the scheduler has composed; the CPU engine and the simulated one are such. A [`QueueEngine`] takes whole
//! sequences and batches them itself, as TensorRT-LLM does. Either answers on a channel, so that the scheduler
//! never blocks on an engine. [`backends`] lists what runs the engine of a manifest.
//!
//! ```
//! use assay::engine::simulated::{SimulatedFactory, expected_logits};
//! use assay::engine::{Chunk, Iteration, Limits, PrefixSharing, StartEngine};
//!
//! let limits =
//!     Limits { max_seq_len: 64, max_batch_size: 8, max_num_tokens: 64, kv_blocks: 16, tokens_per_block: 16 };
//! let mut engine = SimulatedFactory::new(limits, PrefixSharing::Cached, 2).start()?;
//! // One text of three tokens in KV block 0. The logits after its last token are wanted.
//! engine.submit(Iteration {
//!     token_ids: vec![1, 2, 3],
//!     block_table: vec![0],
//!     chunks: vec![Chunk { sequence: 7, tokens: 0..3, position: 0, text_tokens: 3, blocks: 0..1, logits: vec![2] }],
//! })?;
//! let report = engine.reports().recv()??;
//! assert_eq!(report.logits, [(7, expected_logits(&[1, 2, 3], 2))]);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod backend;
pub mod backends;
pub(crate) mod bridge;
pub mod cpu;
mod error;
mod head_layers;
mod job;
pub mod mmap;
mod options;
mod queue;
pub mod simulated;
mod step;
pub mod trtllm;
mod weights;

pub use backend::{Backend, Worker};
pub use bridge::exit_now;
pub use error::{EngineError, LibraryError, SequenceError, StepError};
pub use job::{Job, Priority, Work};
pub use options::{EngineOptions, GpuOptions};
pub use queue::{Generated, IterationStatistics, QueueDepth, QueueEngine, QueueReport};
pub use step::{Chunk, Iteration, LengthClasses, PrefixSharing, StepEngine, StepReport};

/// Identifies a sequence while it is in flight. Unique within a process.
pub type SequenceId = u64;

/// Index of a KV block in the engine's cache, `0..limits.kv_blocks`.
pub type BlockId = u32;

/// What an engine can hold and compute at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Longest sequence, prompt and generated tokens together.
    pub max_seq_len: usize,
    /// Maximum number of sequences in one iteration.
    pub max_batch_size: usize,
    /// Maximum number of tokens computed in one iteration.
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

/// Starts engines of one kind: the first, and another after a failure.
pub trait StartEngine<E: ?Sized>: Send {
    /// Loads the engine, which may take minutes.
    ///
    /// # Errors
    /// The engine cannot be loaded; the error says what to do.
    fn start(&mut self) -> Result<Box<E>, EngineError>;
}

/// What a backend gives the scheduler: engines of one kind or the other.
pub enum EngineFactory {
    /// Starts engines that are handed each iteration.
    Step(Box<dyn StartEngine<dyn StepEngine>>),
    /// Starts engines that batch whole sequences themselves.
    Queue(Box<dyn StartEngine<dyn QueueEngine>>),
}

impl EngineFactory {
    /// A factory of engines that are handed each iteration.
    pub fn step(factory: impl StartEngine<dyn StepEngine> + 'static) -> Self {
        Self::Step(Box::new(factory))
    }

    /// A factory of engines that batch whole sequences themselves.
    pub fn queue(factory: impl StartEngine<dyn QueueEngine> + 'static) -> Self {
        Self::Queue(Box::new(factory))
    }
}
