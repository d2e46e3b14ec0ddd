//! Puts an engine directory into service.

use std::sync::Arc;
use std::time::Instant;

use super::aliases::{self, AliasError, served_names};
use super::{Generator, LoadedModel, Scorer};
use crate::config::{ConfigError, EngineSettings, Settings, Simulation};
use crate::engine::simulated::{Behaviour, Script, SimulatedFactory};
use crate::engine::{EngineError, EngineFactory, backends};
use crate::hardware::profiles::{self, ProfileError};
use crate::hardware::{Machine, Ranks};
use crate::manifest::{LimitError, MANIFEST_FILE, Manifest, ManifestError};
use crate::prompt::{Encoder, EncoderFileError};
use crate::reward::Head;
use crate::scheduler::{self, OnFailure};
use crate::telemetry::Metrics;

/// Why an engine directory cannot be put into service.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// No engine can be chosen.
    #[error(transparent)]
    Profile(#[from] ProfileError),
    /// The manifest cannot be read, or the engine's files are not those that it lists.
    #[error(transparent)]
    Manifest(#[from] ManifestError),
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
    let machine = Machine::detect();
    let EngineSettings { directory, profile, .. } = &settings.engine;
    let (directory, manifest) = profiles::choose(directory, profile, &backends::fit(&machine))?;
    settings.engine.directory = directory;
    Ok(manifest)
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
    let (factory, encoder) = open(settings, manifest)?;
    let encoder = encoder
        .with_embedding_rows(manifest.model.vocab_size)
        .with_variables(settings.server.chat_template_kwargs.clone().unwrap_or_default());
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

/// The engine and its encoder, from files that were verified while they were read. A simulated engine needs no weights.
fn open(settings: &Settings, manifest: &Manifest) -> Result<(EngineFactory, Encoder), LoadError> {
    let (directory, options) = (&settings.engine.directory, settings.engine_options());
    if let Some(simulation) = settings.engine.simulate {
        tracing::warn!("the engine is simulated: its scores mean nothing");
        let factory = SimulatedFactory::for_manifest(manifest, &options, script(simulation))?;
        return Ok((factory.into(), Encoder::open(directory, &manifest.prompt)?));
    }
    let started = Instant::now();
    let files = manifest.read_files(directory)?;
    let bytes: u64 = manifest.files.values().map(|file| file.bytes).sum();
    tracing::info!(bytes, seconds = started.elapsed().as_secs_f64(), "read and verified the engine's files");
    let factory = backends::for_manifest(manifest).open(&files, &options)?;
    Ok((factory, Encoder::from_files(&files, &manifest.prompt)?))
}

fn script(simulation: Simulation) -> Script {
    Box::new(move |_| match simulation {
        Simulation::Instant => Behaviour::Report,
        Simulation::Stall => Behaviour::Stall,
        Simulation::Fail => Behaviour::Fail("the simulated engine is set to fail (--simulate fail)".into()),
    })
}

/// What this process does instead of serving requests if it is a worker rank of a multi-GPU engine: it loads its
/// shard and works until the leader ends the engine.
pub(crate) fn worker(
    settings: &Settings,
    manifest: &Manifest,
) -> Option<impl FnOnce() -> Result<(), LoadError> + Send + use<>> {
    let ranks = Ranks::detect();
    let directory = settings.engine.directory.clone();
    let work = backends::for_manifest(manifest).worker(ranks, &directory, &settings.engine_options())?;
    let (rank, manifest) = (ranks.map_or(0, |ranks| ranks.rank), manifest.clone());
    Some(move || {
        tracing::info!(rank, of = manifest.ranks(), "worker rank: loading its shard, not serving HTTP");
        manifest.verify(&directory)?;
        work()?;
        tracing::info!(rank, "worker rank: the leader has ended the engine");
        Ok(())
    })
}
