//! Why an engine does not start, and why a running one returns no logits.

use std::io;
use std::path::PathBuf;

use super::SequenceId;
use crate::hardware::Obstacle;
use crate::hardware::cores::MAX_THREADS;
use crate::manifest::{LimitError, ManifestError};
use crate::reward::MissingTensor;
use crate::sampling::{SamplingError, UnsupportedSampling};

/// What an engine's library reported, in its own words.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct LibraryError(pub String);

impl From<cxx::Exception> for LibraryError {
    fn from(error: cxx::Exception) -> Self {
        Self(error.what().to_owned())
    }
}

/// Why an engine could not start.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "the messages name the fields")]
pub enum EngineError {
    /// The engine does not run on this machine.
    #[error("{directory} {obstacle}")]
    Unsuitable {
        directory: PathBuf,
        /// Why it does not.
        obstacle: Obstacle,
    },
    /// An option asks for a limit that the engine cannot have.
    #[error(transparent)]
    Limit(#[from] LimitError),
    /// The option for the number of threads is out of range.
    #[error("threads is {0}; it must be from 1 to {MAX_THREADS}")]
    Threads(usize),
    /// The KV cache would not hold the longest sequence.
    #[error(
        "kv_cache_tokens is {tokens}, less than one sequence of max_seq_len {max_seq_len}; raise it or lower max_seq_len"
    )]
    SmallCache {
        /// Tokens that the cache would hold.
        tokens: usize,
        /// Tokens of the longest sequence.
        max_seq_len: usize,
    },
    /// An iteration would not hold the longest text, which an encoder reads as a whole.
    #[error(
        "max_num_tokens is {tokens}, less than one text of max_seq_len {max_seq_len}, which an encoder reads as a whole; \
         raise it or lower max_seq_len"
    )]
    SmallBatch {
        /// Tokens that an iteration would hold.
        tokens: usize,
        /// Tokens of the longest text.
        max_seq_len: usize,
    },
    /// A file of the engine cannot be read, or was changed since it was verified.
    #[error(transparent)]
    Files(#[from] ManifestError),
    /// A file of the engine is missing.
    #[error("cannot read {path} ({source}); build the engine again with `build-engine`")]
    Unreadable {
        path: PathBuf,
        /// What the system reported.
        source: io::Error,
    },
    /// A file of the engine is not a safetensors file.
    #[error("cannot read {path} ({source}); build the engine again with `build-engine`")]
    Malformed {
        path: PathBuf,
        /// What is wrong with it.
        source: safetensors::SafeTensorError,
    },
    /// The file of the head does not have the layers that the manifest describes.
    #[error("{path} {source}; build the engine again")]
    Head { path: PathBuf, source: MissingTensor },
    /// The engine's library could not load it.
    #[error("cannot load {directory}: {source}")]
    Library {
        directory: PathBuf,
        /// What the library reported.
        source: LibraryError,
    },
    /// oneDNN cannot lay out a matrix of weights.
    #[error(transparent)]
    Packing(#[from] LibraryError),
    /// The process should lead the engine's ranks, but it was started as a worker.
    #[error("cannot load {0}: this process is a worker rank; start all ranks with `mpirun`")]
    WorkerLeads(PathBuf),
    /// The process should be a worker, but it was started as the leader of the ranks.
    #[error("cannot load {0}: this rank leads, but the environment says that it is a worker")]
    LeaderWorks(PathBuf),
    /// A thread could not be started.
    #[error("cannot start the {thread}'s thread: {source}")]
    Thread {
        /// Whose thread it would be.
        thread: &'static str,
        /// What the system reported.
        source: io::Error,
    },
    /// The engine's thread ended before it had loaded the engine.
    #[error("cannot load {0}: its thread ended during loading")]
    Ended(PathBuf),
}

/// Why a running engine failed. Every sequence in flight is lost.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StepError {
    /// The engine's library failed.
    #[error("the engine failed: {0}")]
    Library(#[from] LibraryError),
    /// The engine's thread has ended.
    #[error("the engine failed: its thread has ended; start the server again")]
    Ended,
    /// There is no engine that could take work.
    #[error("the engine failed: it is not running")]
    NotRunning,
    /// Logits that were requested are missing.
    #[error("the engine failed: it returned no logits for sequence {0}, which requested them")]
    MissingLogits(SequenceId),
    /// The engine returned logits for a sequence that generates.
    #[error("the engine failed: it scored sequence {0}, which generates")]
    UnexpectedLogits(SequenceId),
    /// The script of the simulated engine made it fail, or it received an iteration that no engine could compute.
    #[error("the engine failed: {0}")]
    Simulated(String),
}

/// Why a single sequence failed, while the others in flight continue.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[expect(missing_docs, reason = "the messages name the fields")]
pub enum SequenceError {
    /// The engine's library refused the sequence, or failed on it alone.
    #[error(transparent)]
    Library(#[from] LibraryError),
    /// The token id is outside of the model's vocabulary.
    #[error("token id {token} is not one of the {vocabulary} that the model has")]
    UnknownToken {
        token: u32,
        /// Rows of the embedding.
        vocabulary: usize,
    },
    /// A position to read is outside of the text, or there is none.
    #[error("read positions must be within the text, and there must be at least one")]
    Unreadable,
    /// The sequence asks for sampling that the engine does not support.
    #[error(transparent)]
    Sampling(#[from] UnsupportedSampling),
    /// No token can be chosen from its logits.
    #[error(transparent)]
    NoToken(#[from] SamplingError),
    /// The sequence took longer than its time limit and was cancelled.
    #[error("it took longer in TensorRT-LLM than --allotted-time")]
    Expired,
}
