//! Puts an engine directory into service.

use std::path::{Component, Path, PathBuf};
use std::sync::Arc;

use super::aliases::{self, AliasError, served_names};
use super::{Generator, LoadedModel, Scorer};
use crate::config::{ConfigError, EngineSettings, Settings, Simulation};
use crate::engine::cpu::{self, CpuFactory};
use crate::engine::simulated::{Behaviour, SimulatedFactory};
use crate::engine::{EngineError, EngineFactory, Limits, PrefixSharing};
use crate::hardware::machine::Machine;
use crate::hardware::profiles::{self, ProfileError};
use crate::manifest::{BuildLimits, LimitError, MANIFEST_FILE, Manifest, ManifestError, Target};
use crate::prompt::{Encoder, EncoderFileError};
use crate::reward::Head;
use crate::scheduler::{self, OnFailure};
use crate::telemetry::Metrics;
#[cfg(feature = "trtllm")]
use crate::{engine::trtllm, hardware::machine::Ranks};

/// Tokens in a KV block of a simulated engine.
const SIMULATED_BLOCK: usize = 16;

/// Why an engine directory cannot be put into service.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// No engine can be chosen.
    #[error(transparent)]
    Profile(#[from] ProfileError),
    /// The manifest cannot be read, or the engine's files are not those that it lists.
    #[error(transparent)]
    Manifest(#[from] ManifestError),
    /// The directory is a checkpoint.
    #[error(
        "{path} is a checkpoint, not an engine directory; build an engine with `build-engine --model \
         {path} --target cpu --output DIR`, and serve DIR"
    )]
    Checkpoint {
        /// The directory.
        path: PathBuf,
    },
    /// The directory does not exist, and its name looks like that of a model on the hub.
    #[error(
        "{name} is not a directory; if it is a model on the Hugging Face hub, get it with `hf download {name} \
         --local-dir DIR`, build an engine from DIR with `build-engine`, and serve that"
    )]
    HubId {
        /// What was named.
        name: PathBuf,
    },
    /// The options for scores do not fit the head.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The aliases do not fit the model.
    #[error(transparent)]
    Alias(#[from] AliasError),
    /// The tokenizer or the chat template cannot be used.
    #[error(transparent)]
    Encoder(#[from] EncoderFileError),
    /// The engine does not load on this machine.
    #[error(transparent)]
    Engine(#[from] EngineError),
    /// An option asks for a limit that the engine cannot have.
    #[error(transparent)]
    Limit(#[from] LimitError),
    /// The engine is for GPUs and this binary is not.
    #[error(
        "{} requires NVIDIA GPUs; this binary was built without GPU support: use the GPU image, or build with \
         `--features trtllm`",
        .0.display()
    )]
    NoGpuSupport(PathBuf),
}

/// Chooses the engine to serve, whose directory becomes `settings.engine.directory`. One that is only simulated runs
/// anywhere.
///
/// # Errors
/// None of the engines there runs on this machine.
pub fn choose(settings: &mut Settings) -> Result<Manifest, LoadError> {
    let is_engine = settings.engine.directory.join(MANIFEST_FILE).exists();
    if settings.engine.simulate.is_some() && is_engine {
        return Ok(Manifest::read(&settings.engine.directory)?);
    }
    let EngineSettings { directory, profile, .. } = &settings.engine;
    let chosen = profiles::choose(directory, profile, &Machine::this());
    let (directory, manifest) = chosen.map_err(|error| explain(error, directory))?;
    settings.engine.directory = directory;
    Ok(manifest)
}

/// Recognizes what new users name in place of an engine directory.
fn explain(error: ProfileError, directory: &Path) -> LoadError {
    if !matches!(error, ProfileError::Manifest(ManifestError::Unreadable { .. })) {
        return error.into();
    }
    if directory.join("config.json").exists() {
        return LoadError::Checkpoint { path: directory.to_owned() };
    }
    // `owner/name`, as the hub writes it.
    let parts: Vec<Component<'_>> = directory.components().collect();
    if matches!(parts[..], [Component::Normal(_), Component::Normal(_)]) && !directory.exists() {
        return LoadError::HubId { name: directory.to_owned() };
    }
    error.into()
}

/// Checks the engine directory, loads its engine and starts its scheduler. Takes as long as reading it.
///
/// # Errors
/// A file is missing or damaged, or the engine does not fit this machine.
pub fn load(
    settings: &Settings,
    manifest: &Manifest,
    metrics: Arc<Metrics>,
) -> Result<LoadedModel, LoadError> {
    let head = head(settings, manifest)?;
    let factory = factory(settings, manifest)?;
    let encoder = Encoder::open(&settings.engine.directory, &manifest.prompt)?;
    let mut options = settings.scheduler();
    if manifest.ranks() > 1 {
        // The other ranks are processes of their own: all are started again, or none.
        options.on_failure = OnFailure::Exit;
    }
    let scheduler = scheduler::start(factory, options, metrics.clone())?;
    Ok(match head {
        Some(head) => Scorer::new(encoder, head, scheduler, metrics).into(),
        None => {
            Generator::new(encoder, manifest, scheduler, metrics, settings.engine.generation_config).into()
        }
    })
}

/// The head of a reward model; `None` if the model generates text.
fn head(settings: &Settings, manifest: &Manifest) -> Result<Option<Head>, LoadError> {
    if !manifest.task.generates() {
        let head = settings.scoring.head(&manifest.head)?;
        aliases::check(&served_names(settings, manifest), &settings.server.alias, &head)?;
        return Ok(Some(head));
    }
    if settings.server.alias.is_empty() { Ok(None) } else { Err(AliasError::Generates.into()) }
}

fn factory(settings: &Settings, manifest: &Manifest) -> Result<EngineFactory, LoadError> {
    if let Some(simulation) = settings.engine.simulate {
        tracing::warn!("the engine is simulated: its scores mean nothing");
        return Ok(simulated(settings, manifest, simulation)?.into());
    }
    manifest.verify(&settings.engine.directory)?;
    if let Target::TensorrtLlm(_) = &manifest.target {
        return gpu_factory(settings, manifest);
    }
    let options = cpu::Options {
        threads: settings.engine.threads,
        kv_cache_tokens: settings.engine.kv_cache_tokens,
        limits: settings.engine.limits(),
    };
    Ok(CpuFactory::open(&settings.engine.directory, manifest, options)?.into())
}

#[cfg(feature = "trtllm")]
fn gpu_factory(settings: &Settings, manifest: &Manifest) -> Result<EngineFactory, LoadError> {
    Ok(trtllm_factory(settings, manifest)?.into())
}

#[cfg(not(feature = "trtllm"))]
fn gpu_factory(settings: &Settings, _: &Manifest) -> Result<EngineFactory, LoadError> {
    Err(LoadError::NoGpuSupport(settings.engine.directory.clone()))
}

#[cfg(feature = "trtllm")]
fn trtllm_factory(settings: &Settings, manifest: &Manifest) -> Result<trtllm::TrtllmFactory, LoadError> {
    let options = trtllm::Options {
        kv_cache_tokens: settings.engine.kv_cache_tokens,
        kv_cache_fraction: settings.gpu.kv_cache_fraction as f32,
        kv_cache_host_bytes: settings.gpu.kv_cache_host_bytes,
        block_reuse: settings.scheduling.prefix_sharing,
        chunked_context: settings.gpu.chunked_context,
        allotted: settings.gpu.allotted_time.map(|time| time.0),
        limits: settings.engine.limits(),
        // Without `mpirun`, the library starts the ranks itself.
        worker: Ranks::find().is_none().then(trtllm::default_worker),
    };
    Ok(trtllm::TrtllmFactory::open(&settings.engine.directory, manifest, &options)?)
}

/// Whether this process is a rank of a multi-GPU engine other than the leader: it serves no requests.
pub(crate) fn is_worker(manifest: &Manifest) -> bool {
    match &manifest.target {
        #[cfg(feature = "trtllm")]
        Target::TensorrtLlm(gpus) => gpus.ranks() > 1 && Ranks::find().is_some_and(|ranks| ranks.rank > 0),
        _ => false,
    }
}

/// Loads this rank's shard of the engine and works until the leader ends the engine.
///
/// # Errors
/// The shard does not load.
#[cfg(feature = "trtllm")]
pub(crate) fn run_worker(settings: &Settings, manifest: &Manifest) -> Result<(), LoadError> {
    let rank = Ranks::find().map_or(0, |ranks| ranks.rank);
    tracing::info!(rank, of = manifest.ranks(), "worker rank: loading its shard, not serving HTTP");
    manifest.verify(&settings.engine.directory)?;
    trtllm_factory(settings, manifest)?.follow()?;
    tracing::info!(rank, "worker rank: the leader has ended the engine");
    Ok(())
}

/// Engines of this build have one rank, so [`is_worker`] is never true.
#[cfg(not(feature = "trtllm"))]
pub(crate) fn run_worker(settings: &Settings, _: &Manifest) -> Result<(), LoadError> {
    Err(LoadError::NoGpuSupport(settings.engine.directory.clone()))
}

fn simulated(
    settings: &Settings,
    manifest: &Manifest,
    simulation: Simulation,
) -> Result<SimulatedFactory, LimitError> {
    let BuildLimits { max_seq_len, max_batch_size, max_num_tokens } =
        manifest.limits.lowered(&settings.engine.limits())?;
    let tokens = settings.engine.kv_cache_tokens.unwrap_or(4 * max_seq_len.max(max_num_tokens));
    let limits = Limits {
        max_seq_len,
        max_batch_size,
        max_num_tokens,
        kv_blocks: tokens.div_ceil(SIMULATED_BLOCK),
        tokens_per_block: SIMULATED_BLOCK,
    };
    let script = Box::new(move |_| match simulation {
        Simulation::Instant => Behaviour::Report,
        Simulation::Stall => Behaviour::Stall,
        Simulation::Fail => Behaviour::Fail("its simulation says so".into()),
    });
    Ok(SimulatedFactory::scripted(limits, PrefixSharing::WithinIteration, manifest.logits(), script))
}
