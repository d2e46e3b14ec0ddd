//! Why a build failed.

use std::io;
use std::path::{Path, PathBuf};
use std::process::ExitStatus;

use indicatif::HumanBytes;

use crate::engine::EngineError;
use crate::hardware::targets::TargetError;
use crate::manifest::TENSORRT_LLM;

/// The program that builds engines for GPUs.
pub(super) const TRTLLM_BUILD: &str = "trtllm-build";

/// Why a build failed. Nothing is left at `--output`, whatever the reason.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "the messages name the fields")]
pub enum BuildError {
    /// A file of the checkpoint is missing, malformed, or asks for something that no engine can do.
    #[error("{path}: {reason}")]
    Checkpoint {
        path: PathBuf,
        /// What is wrong and what to do.
        reason: String,
    },
    /// A tensor of the checkpoint is missing, unexpected, misshapen, of a wrong type or not finite.
    #[error("{path}: tensor {name} {reason}")]
    Tensor {
        /// The file that has it, or should have it.
        path: PathBuf,
        name: String,
        /// What is wrong with it.
        reason: String,
    },
    /// An option asks for what this model or machine cannot do. The sentence names the option; the place that reads it
    /// knows best what to do instead.
    #[error("{0}")]
    Option(String),
    /// The output directory cannot be used.
    #[error(transparent)]
    Output(#[from] OutputError),
    /// `trtllm-build` is missing, or failed.
    #[error(transparent)]
    Process(#[from] ProcessError),
    /// The system does not report signals.
    #[error("cannot watch for signals: {0}")]
    Signals(#[source] io::Error),
    /// The engine cannot be written.
    #[error("{path} cannot be written ({source}); check the free space and the permissions of its directory")]
    Write {
        /// What could not be written.
        path: PathBuf,
        source: io::Error,
    },
    /// There is no such target, or it does not compute in the requested precision.
    #[error(transparent)]
    Target(#[from] TargetError),
    /// The CPU engine's library failed.
    #[error(transparent)]
    Engine(#[from] EngineError),
    /// The build was interrupted.
    #[error("interrupted; nothing was written to the output directory")]
    Interrupted,
}

/// Why nothing is built into the directory that `--output` names.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[expect(missing_docs, reason = "the messages name the fields")]
pub enum OutputError {
    /// It has no parent, such as `/`.
    #[error("--output {0} cannot be replaced by an engine; name another directory")]
    Irreplaceable(PathBuf),
    /// There is a file of this name.
    #[error("--output {0} exists and is not a directory; remove it or name another directory")]
    NotADirectory(PathBuf),
    /// The directory holds something.
    #[error("--output {0} exists and is not empty; remove it or name another directory")]
    NotEmpty(PathBuf),
    /// The disk has too little room.
    #[error("--output {output} needs {}, but only {} are free there", HumanBytes(*needed), HumanBytes(*free))]
    Full {
        output: PathBuf,
        /// Bytes of the engine.
        needed: u64,
        /// Bytes that are free.
        free: u64,
    },
}

/// Why `trtllm-build` built no engine.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "the messages name the fields")]
pub enum ProcessError {
    /// It is not installed.
    #[error(
        "there is no {TRTLLM_BUILD} on PATH: it comes with TensorRT-LLM {TENSORRT_LLM}, so run build-engine in the GPU \
         image (docker/), or write the checkpoint alone with --checkpoint-only and build it there later"
    )]
    Missing,
    /// It belongs to this version of TensorRT-LLM, whose engines the server does not drive.
    #[error(
        "{TRTLLM_BUILD} here belongs to TensorRT-LLM {0}, but the server drives {TENSORRT_LLM}; run build-engine in the \
         server's own image (docker/)"
    )]
    OtherVersion(String),
    /// It does not run.
    #[error("{program} cannot be started: {source}")]
    Unstartable {
        program: PathBuf,
        /// What the system reported.
        source: io::Error,
    },
    /// It ended with an error.
    #[error("{TRTLLM_BUILD} failed ({status}); its last lines:\n    {}", last_lines.join("\n    "))]
    Failed {
        status: ExitStatus,
        /// What it printed last.
        last_lines: Vec<String>,
    },
}

impl BuildError {
    pub(super) fn checkpoint(path: impl Into<PathBuf>, reason: impl Into<String>) -> Self {
        Self::Checkpoint { path: path.into(), reason: reason.into() }
    }

    pub(super) fn tensor(path: &Path, name: &str, reason: impl Into<String>) -> Self {
        Self::Tensor { path: path.to_owned(), name: name.to_owned(), reason: reason.into() }
    }

    pub(super) fn write(path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        |source| Self::Write { path, source }
    }
}
