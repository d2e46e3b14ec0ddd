//! Engines that are handed each iteration.

use std::ops::Range;
use std::time::Duration;

use crossbeam_channel::Receiver;

use super::{BlockId, Limits, SequenceError, SequenceId, StepError};

/// Computes the iterations that the scheduler composes, usually on its own thread.
pub trait StepEngine: Send {
    /// What it can hold and compute at once. Does not change while it lives.
    fn limits(&self) -> Limits;

    /// Which earlier work a sequence's blocks may reuse.
    fn sharing(&self) -> PrefixSharing;

    /// Maximum number of KV blocks to keep for their prefixes while no sequence uses them. An engine whose memory is taken
    /// only as blocks are first used returns fewer than all of them.
    fn max_cached_blocks(&self) -> usize {
        self.limits().kv_blocks
    }

    /// Which texts may share a prefix, by their lengths.
    fn length_classes(&self) -> LengthClasses {
        LengthClasses::Alike
    }

    /// Submits an iteration and returns at once. At most one runs at a time: the next is submitted after the report of
    /// the one before.
    ///
    /// # Errors
    /// The engine's thread has ended.
    fn submit(&mut self, iteration: Iteration) -> Result<(), StepError>;

    /// Where the report of each iteration arrives, in order. An error means that every sequence in flight is lost.
    fn reports(&self) -> &Receiver<Result<StepReport, StepError>>;
}

/// Which earlier work a sequence's blocks may reuse.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PrefixSharing {
    /// Blocks written by another chunk of the same iteration, and all earlier ones.
    WithinIteration,
    /// Only blocks that a finished iteration has written.
    Cached,
    /// No blocks: a token's keys and values depend on the whole text, which must be one chunk. The engine needs its
    /// blocks only while the iteration runs.
    Nothing,
}

/// Which texts may share the blocks of a common prefix, by their lengths: the rotation of all tokens may depend on the
/// length of the whole text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LengthClasses {
    /// All.
    Alike,
    /// Those of at most this many tokens among themselves, and the longer ones among themselves.
    Two {
        /// Tokens of the longest text of the first class.
        usual: usize,
    },
    /// Those of at most this many tokens, and longer ones of the same length.
    EachBeyond {
        /// Tokens of the longest text of the first class.
        usual: usize,
    },
}

impl LengthClasses {
    /// The class of a text; 0 for the usual one.
    pub fn class_of(self, tokens: usize) -> usize {
        match self {
            Self::Two { usual } if tokens > usual => 1,
            Self::EachBeyond { usual } if tokens > usual => tokens,
            _ => 0,
        }
    }
}

/// One sequence's part of an iteration: a run of its tokens and where their keys and values go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Chunk {
    /// Whose tokens these are.
    pub sequence: SequenceId,
    /// Their range in [`Iteration::token_ids`].
    pub tokens: Range<usize>,
    /// Position in the sequence of the first of them.
    pub position: usize,
    /// Tokens of the whole text, those that other chunks have included. For one that generates, those known so far.
    pub text_tokens: usize,
    /// The range of the sequence's block table in [`Iteration::block_table`]. It covers positions
    /// `0..position + tokens.len()`, shared blocks included.
    pub blocks: Range<usize>,
    /// The tokens after which logits are requested, as ascending offsets into the chunk.
    pub logits: Vec<usize>,
}

/// A flat batch: token ids one after the other, cut into chunks. Padding cannot be expressed.
///
/// Chunks come in the order in which they may depend on each other: a chunk that reads blocks written by another chunk
/// of this iteration comes after it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Iteration {
    /// Token ids of all chunks, `[num_tokens]`.
    pub token_ids: Vec<u32>,
    /// Block tables of all chunks.
    pub block_table: Vec<BlockId>,
    /// One for each sequence that has tokens in this iteration.
    pub chunks: Vec<Chunk>,
}

/// What an iteration gave.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct StepReport {
    /// Each chunk that requested logits: its sequence, and `[requested tokens, head rows]` in raw f32.
    pub logits: Vec<(SequenceId, Vec<f32>)>,
    /// Sequences that failed on their own, and why.
    pub failed: Vec<(SequenceId, SequenceError)>,
    /// How long the engine took.
    pub elapsed: Duration,
}
