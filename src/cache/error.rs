//! Why a model cannot be used as it was named.

use std::io;
use std::path::{Path, PathBuf};

use crate::builder::{AddressError, BuildError};
use crate::hardware::targets::TargetError;
use crate::manifest::Dtype;

/// Why a model cannot be used as it was named. The sentences name the command that was probably meant.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "the messages name the fields")]
pub enum ModelError {
    /// Nothing has this name.
    #[error(
        "{} does not exist; give an engine directory, a checkpoint directory, or OWNER/NAME of a model of the Hugging \
         Face hub, which --download fetches", model.display()
    )]
    Missing { model: PathBuf },
    /// The name looks like a model of the hub, but this machine's hub cache does not have it.
    #[error(
        "{name} is neither a directory here nor in the Hugging Face cache{}; if it is a model of the hub, download it \
         with `hf download {name}`, then run this command again, or let `{command} {name} --download` do both", place(cache.as_deref())
    )]
    NotDownloaded {
        name: String,
        /// Where the cache is, if it is known.
        cache: Option<PathBuf>,
        /// The command line up to the model.
        command: &'static str,
    },
    /// The hub's client is not there.
    #[error(
        "--download runs `hf download {name}`, and `hf` cannot be started ({source}); install it with `pip install \
         --upgrade huggingface_hub`"
    )]
    NoClient {
        name: String,
        /// What the system reported.
        source: io::Error,
    },
    /// The hub's client failed.
    #[error(
        "`hf download {name}` failed ({status}); the lines above say why, and running this command again continues"
    )]
    Download { name: String, status: String },
    /// An address that names no model.
    #[error(transparent)]
    Address(#[from] AddressError),
    /// A file of an engine or of a checkpoint.
    #[error("{} is {what}; name its directory: `{command} {}`", file.display(), directory.display())]
    File {
        file: PathBuf,
        what: &'static str,
        /// The directory that it is in.
        directory: PathBuf,
        /// The command line up to the model.
        command: &'static str,
    },
    /// A file that belongs to no model.
    #[error("{} is a file that does not belong to a model; give the model's directory", file.display())]
    UnknownFile { file: PathBuf },
    /// A folder without an engine and without a checkpoint.
    #[error(
        "{} has neither an engine (engine.yaml) nor a checkpoint (config.json) in it; name a directory that has, or \
         OWNER/NAME of a model of the Hugging Face hub", directory.display()
    )]
    NoModel { directory: PathBuf },
    /// Engines are listed in a folder that is not there.
    #[error(
        "{} is not a folder on this machine; name one with engines, such as that of `build-engine --output`",
        model.display()
    )]
    NoFolder { model: PathBuf },
    /// A checkpoint where only engines are listed.
    #[error(
        "{0} is not a folder of engines; `assay serve {0}` builds an engine from a checkpoint for this machine's \
         processor, and `assay cache` lists such engines", model.display()
    )]
    NotBuilt { model: PathBuf },
    /// A folder of several checkpoints.
    #[error(
        "{} is a folder of {}: `{command} {}`", directory.display(), match count {
            1 => "one checkpoint; name that".to_owned(),
            count => format!("{count} checkpoints; name one of them"),
        }, first.display()
    )]
    Checkpoints {
        directory: PathBuf,
        /// How many it has.
        count: usize,
        first: PathBuf,
        /// The command line up to the model.
        command: &'static str,
    },
    /// A checkpoint that `build-engine` wrote for GPUs.
    #[error(
        "{0} is a checkpoint for TensorRT-LLM; build its engine on the machine with the GPUs, with `build-engine --model \
         {0} --target GPU --output DIR`, then name DIR", model.display()
    )]
    GpuCheckpoint { model: PathBuf },
    /// The machine has GPUs: building for them needs a decision, and takes much longer.
    #[error(
        "{0} is a checkpoint, and this machine has {gpus}; build an engine for it with `build-engine --model {0} --target \
         {target} --output DIR` and name DIR, or add `--target cpu` to use the processor", model.display()
    )]
    HasGpus {
        model: PathBuf,
        gpus: String,
        /// What `build-engine` calls them.
        target: String,
    },
    /// `--target` names GPUs.
    #[error(
        "--target {target}: engines for GPUs are built by `build-engine --model {0} --target {target} --output DIR`; then \
         name DIR", model.display()
    )]
    GpuTarget { model: PathBuf, target: String },
    /// Options for building with an engine that is built already.
    #[error(
        "{} is an engine, so the options that say how to build one (--adapter, --head and others) do not apply; leave \
         them out, or name the checkpoint", directory.display()
    )]
    AlreadyBuilt { directory: PathBuf },
    /// The checkpoint cannot be built.
    #[error(transparent)]
    Build(#[from] BuildError),
    /// `--target` names nothing.
    #[error(transparent)]
    Target(#[from] TargetError),
    /// No place for the cache is known.
    #[error(
        "there is no place for the engines that are built from checkpoints, as ASSAY_CACHE is not set, \
         and HOME is not a folder that exists; set ASSAY_CACHE to a folder"
    )]
    NoCache,
    /// A variable of the cache is wrong.
    #[error("ASSAY_CACHE_MAX_BYTES=`{value}`: expected a number of bytes")]
    MaxBytes { value: String },
    /// A file from which the engine is built cannot be read.
    #[error("cannot read {}: {source}", path.display())]
    Unreadable {
        path: PathBuf,
        /// What the system reported.
        source: io::Error,
    },
    /// The model is an engine of another type than `--dtype` names.
    #[error(
        "{} is an engine whose weights are {built}, and --dtype {wanted} says how to build one; leave it out, or name \
         the checkpoint", directory.display()
    )]
    OtherDtype { directory: PathBuf, built: Dtype, wanted: Dtype },
    /// A file or folder of the cache cannot be used.
    #[error("{} cannot be used ({source}); set ASSAY_CACHE to a folder that can be written", path.display())]
    Cache {
        /// The file or folder.
        path: PathBuf,
        /// What the system reported.
        source: io::Error,
    },
    /// `assay cache --remove` names an engine that the cache does not have.
    #[error("the cache has no engine {name}; `assay cache` lists them")]
    NotCached { name: String },
    /// An engine in use cannot be removed.
    #[error("{name} is in use by another process; stop that first")]
    InUse {
        /// The engine.
        name: String,
    },
}

impl ModelError {
    pub(super) fn cache(path: &Path) -> impl FnOnce(io::Error) -> Self + use<> {
        let path = path.to_owned();
        move |source| Self::Cache { path, source }
    }
}

fn place(cache: Option<&Path>) -> String {
    cache.map_or(String::new(), |cache| format!(" ({})", cache.display()))
}
