//! Puts an engine directory into service.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use super::aliases::{self, AliasError};
use super::{Alias, Generator, LoadedModel, Scorer};
use crate::engine::simulated::{SimulatedFactory, Simulation};
use crate::engine::{EngineError, EngineFactory, EngineOptions, backends};
use crate::hardware::profiles::{self, ProfileError};
use crate::hardware::{Machine, Ranks};
use crate::manifest::judge::QuestionError;
use crate::manifest::{LimitError, MANIFEST_FILE, Manifest, ManifestError};
use crate::prompt::{AnswerTokens, Encoder, EncoderFileError, TemplateVariables};
use crate::reward::Head;
use crate::scheduler::{self, OnFailure, SchedulerOptions};
use crate::telemetry::Metrics;

/// How an engine is put into service.
#[derive(Clone, Debug)]
pub struct LoadOptions {
    /// The engine's directory.
    pub directory: PathBuf,
    /// The names of the model, at least one; the first is the one in responses.
    pub names: Vec<String>,
    /// Further names, of all or some of a reward model's scores.
    pub aliases: Vec<Alias>,
    /// The head of a reward model; `None` if the model generates text.
    pub head: Option<Head>,
    /// The engine's options.
    pub engine: EngineOptions,
    /// The scheduler's options.
    pub scheduler: SchedulerOptions,
    /// How the engine behaves if it is only simulated.
    pub simulate: Option<Simulation>,
    /// The chat template's variables, where a request does not set them.
    pub template_variables: TemplateVariables,
    /// Whether the sampling parameters of the checkpoint hold where a request has none.
    pub sampling_defaults: bool,
}

/// Why an engine directory cannot be put into service.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// No engine can be chosen.
    #[error(transparent)]
    Profile(#[from] ProfileError),
    /// The manifest cannot be read, or the engine's files are not those that it lists.
    #[error(transparent)]
    Manifest(#[from] ManifestError),
    /// The aliases do not fit the model.
    #[error(transparent)]
    Alias(#[from] AliasError),
    /// The tokenizer or the chat template cannot be used.
    #[error(transparent)]
    Encoder(#[from] EncoderFileError),
    /// The engine does not load on this machine.
    #[error(transparent)]
    Engine(#[from] EngineError),
    /// A judge's layout does not suit the model.
    #[error("judge: `layout` {0}")]
    Layout(QuestionError),
    /// A judge's question cannot be put to the model.
    #[error("judge: `attributes.{attribute}.{}` {source}", source.field())]
    Question {
        /// The question's attribute.
        attribute: String,
        /// Why.
        source: QuestionError,
    },
    /// An option asks for a limit that the engine cannot have.
    #[error(transparent)]
    Limit(#[from] LimitError),
}

/// Chooses the engine to serve in `root`, an engine directory or a folder of several: the one with this profile. One
/// that is only simulated runs anywhere.
///
/// # Errors
/// None of the engines there runs on this machine.
pub fn choose(root: &Path, profile: &str, simulated: bool) -> Result<(PathBuf, Manifest), LoadError> {
    if simulated && root.join(MANIFEST_FILE).exists() {
        return Ok((root.to_owned(), Manifest::read(root)?));
    }
    let machine = Machine::detect();
    Ok(profiles::choose(root, profile, &backends::fit(&machine))?)
}

/// Checks the engine directory, loads its engine and starts its scheduler. Takes as long as reading it.
///
/// # Errors
/// A file is missing or damaged, the aliases do not fit the model, or the engine does not fit this machine.
pub fn load(
    options: &LoadOptions,
    manifest: &Manifest,
    metrics: Arc<Metrics>,
) -> Result<LoadedModel, LoadError> {
    match &options.head {
        Some(head) => aliases::check(&options.names, &options.aliases, head)?,
        None if options.aliases.is_empty() => {}
        None => return Err(AliasError::Generates.into()),
    }
    let (factory, encoder) = open(options, manifest)?;
    let mut head = options.head.clone();
    let encoder = encoder
        .with_embedding_rows(manifest.model.vocab_size)
        .with_variables(options.template_variables.clone());
    if let Some(head) = &mut head {
        let limits = manifest.limits.lowered(&options.engine.limits)?;
        resolve_answers(head, &encoder, limits.max_seq_len)?;
    }
    let mut scheduling = options.scheduler.clone();
    if manifest.task.generates() {
        // The logits of a whole vocabulary are a megabyte or so for each question: too much to keep.
        scheduling.score_cache = 0;
    }
    if manifest.ranks() > 1 {
        // The other ranks are processes of their own: all are started again, or none.
        scheduling.on_failure = OnFailure::Exit;
    }
    let scheduler = scheduler::start(factory, scheduling, metrics.clone())?;
    Ok(match head {
        Some(head) => {
            let scorer = Scorer::new(encoder, head, scheduler, metrics);
            if manifest.task.generates() { scorer.with_vocabulary().into() } else { scorer.into() }
        }
        None => Generator::new(encoder, manifest, scheduler, metrics, options.sampling_defaults).into(),
    })
}

/// Finds the tokens of a judge's answers. Prompts may have up to `limit` tokens.
fn resolve_answers(head: &mut Head, encoder: &Encoder, limit: usize) -> Result<(), LoadError> {
    let Some(layout) = head.judge().map(|judge| judge.layout) else { return Ok(()) };
    let mut tokens = AnswerTokens::new(encoder, layout, limit).map_err(LoadError::Layout)?;
    head.resolve_answers(|attribute, question| {
        let resolved = tokens.resolve(question);
        resolved.map_err(|source| LoadError::Question { attribute: attribute.to_owned(), source })
    })
}

/// The engine and its encoder, from files that were verified while they were read. A simulated engine needs no weights.
fn open(options: &LoadOptions, manifest: &Manifest) -> Result<(EngineFactory, Encoder), LoadError> {
    let directory = &options.directory;
    if let Some(simulation) = options.simulate {
        tracing::warn!("the engine is simulated: its scores mean nothing");
        let factory = SimulatedFactory::for_manifest(manifest, &options.engine, simulation.script())?;
        return Ok((factory.into(), Encoder::open(directory, &manifest.prompt)?));
    }
    let started = Instant::now();
    let files = manifest.read_files(directory)?;
    let bytes: u64 = manifest.files.values().map(|file| file.bytes).sum();
    tracing::info!(bytes, seconds = started.elapsed().as_secs_f64(), "read and verified the engine's files");
    let factory = backends::for_manifest(manifest).open(&files, &options.engine)?;
    Ok((factory, Encoder::from_files(&files, &manifest.prompt)?))
}

/// What this process does instead of serving requests if it is a worker rank of a multi-GPU engine: it loads its
/// shard and works until the leader ends the engine.
pub(crate) fn worker(
    directory: &Path,
    options: &EngineOptions,
    manifest: &Manifest,
) -> Option<impl FnOnce() -> Result<(), LoadError> + Send + use<>> {
    let ranks = Ranks::detect();
    let work = backends::for_manifest(manifest).worker(ranks, directory, options)?;
    let directory = directory.to_owned();
    let (rank, manifest) = (ranks.map_or(0, |ranks| ranks.rank), manifest.clone());
    Some(move || {
        tracing::info!(rank, of = manifest.ranks(), "worker rank: loading its shard, not serving HTTP");
        manifest.verify(&directory)?;
        work()?;
        tracing::info!(rank, "worker rank: the leader has ended the engine");
        Ok(())
    })
}
