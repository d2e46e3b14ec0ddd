//! Why an engine directory cannot be used.

use std::path::PathBuf;

use super::{FORMAT, NUMERICS, OutOfBounds};

/// Why an engine directory cannot be used.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "the messages name the fields")]
pub enum ManifestError {
    /// The manifest is missing or cannot be read.
    #[error("cannot read {path} ({source}); an engine directory is what `build-engine --output` wrote")]
    Unreadable { path: PathBuf, source: std::io::Error },
    /// The manifest is malformed, or of another version.
    #[error("{path} is not a valid engine manifest: {source}; build the engine again with `build-engine`")]
    Invalid {
        path: PathBuf,
        /// What is wrong with it.
        source: InvalidManifest,
    },
    /// A later version of Assay wrote it.
    #[error(
        "{path}: {source}, so a later version of Assay built this engine; install that version, or build the engine \
         again with the `build-engine` of this one"
    )]
    Later {
        path: PathBuf,
        /// Which of its versions is later.
        source: InvalidManifest,
    },
    /// A file is missing, changed or truncated.
    #[error("{path}: {source}; copy the engine directory again or build it again with `build-engine`")]
    Damaged {
        path: PathBuf,
        /// What is wrong with it.
        source: Damage,
    },
}

/// Why the text of a manifest is not valid.
#[derive(Debug, thiserror::Error)]
pub enum InvalidManifest {
    /// It is of another [`FORMAT`].
    #[error("its format is {0}, this version reads {FORMAT}")]
    Format(u32),
    /// It is of another [`NUMERICS`].
    #[error("its numerics revision is {0}, this version computes revision {NUMERICS}")]
    Numerics(u32),
    /// It is not YAML, or has a wrong or unknown field.
    #[error("{}", .0.without_snippet())]
    Yaml(#[source] Box<serde_saphyr::Error>),
    /// A number is one that no engine can have.
    #[error(transparent)]
    OutOfBounds(#[from] OutOfBounds),
}

impl InvalidManifest {
    /// Whether a later version of Assay can read it.
    pub(super) fn is_later(&self) -> bool {
        match self {
            Self::Format(format) => *format > FORMAT,
            Self::Numerics(numerics) => *numerics > NUMERICS,
            Self::Yaml(_) | Self::OutOfBounds(_) => false,
        }
    }
}

/// How a file of an engine directory differs from the one that was built.
#[derive(Debug, thiserror::Error)]
pub enum Damage {
    /// The manifest was edited.
    #[error("its profile id does not match its text, so it was changed after the build")]
    ProfileId,
    /// The manifest does not list a file that the engine needs.
    #[error("it does not list {0}")]
    NotListed(String),
    /// The manifest lists a file by a path that leads out of the directory.
    #[error("the manifest lists it, but it is outside the engine directory")]
    Outside,
    /// The file does not exist.
    #[error("it is missing")]
    Missing,
    /// The file cannot be read.
    #[error("it cannot be read ({0})")]
    Unreadable(#[from] std::io::Error),
    /// It is a directory or the like.
    #[error("it is not a regular file")]
    NotAFile,
    /// The file has another size.
    #[error("it has {found} bytes where the manifest says {expected}")]
    Size {
        /// Its size in bytes.
        found: u64,
        /// Its size in the manifest.
        expected: u64,
    },
    /// The file has the right size and other content.
    #[error(
        "its content was changed: the SHA-256 of its bytes {from} to {to} is {found} where the manifest says {expected}"
    )]
    Digest {
        /// The first byte of the part that was changed.
        from: u64,
        /// The byte after its last.
        to: u64,
        /// Its SHA-256.
        found: String,
        /// Its SHA-256 in the manifest.
        expected: String,
    },
    /// The manifest does not have a digest for each part.
    #[error("the manifest lists the digests of {found} parts, and the file has {expected}")]
    Parts {
        /// Digests in the manifest.
        found: usize,
        /// Parts of the file.
        expected: u64,
    },
}
