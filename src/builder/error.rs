//! Why a build failed.

use std::io;
use std::path::{Path, PathBuf};

use crate::engine::EngineError;
use crate::hardware::targets::TargetError;

/// Why a build failed. Nothing is left at `--output`, whatever the reason.
#[derive(Debug, thiserror::Error)]
pub enum BuildError {
    /// A file of the checkpoint is missing, malformed, or asks for something that no engine can do.
    #[error("{path}: {reason}")]
    Checkpoint {
        /// The file.
        path: PathBuf,
        /// What is wrong and what to do.
        reason: String,
    },
    /// A tensor of the checkpoint is missing, unexpected, misshapen, of a wrong type or not finite.
    #[error("{path}: tensor {name} {reason}")]
    Tensor {
        /// The file that has it, or should have it.
        path: PathBuf,
        /// Its name.
        name: String,
        /// What is wrong with it.
        reason: String,
    },
    /// An option asks for what this model or machine cannot do.
    #[error("{0}")]
    Option(String),
    /// The engine cannot be written.
    #[error("{path} cannot be written ({source}); check the free space and the rights of its directory")]
    Write {
        /// What could not be written.
        path: PathBuf,
        /// Why.
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
