//! [`App`]: what every handler shares.

use std::path::Path;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use tokio::sync::Notify;

use super::background::Background;
use super::budget::ByteBudget;
use super::engine_headers::EngineHeaders;
use super::error::ApiError;
use super::middleware::keys::{KeyError, KeyRing};
use super::signer::Signer;
use super::wire::unix_time;
use crate::config::Settings;
use crate::manifest::{LimitError, Manifest};
use crate::prompt::Encoder;
use crate::serving::{Generator, LoadedModel, Model, Scheduling, Scorer, find_model, served_names};
use crate::signing::SigningKeyError;
use crate::telemetry::Metrics;
use crate::telemetry::traces::Traces;

/// Model names that clients of SGLang, Infinity and LLaMA-Factory send by default.
const UNNAMED: [&str; 4] = ["", "default", "default/not-specified", "model"];
/// Characters of an unknown name that an error quotes.
const MAX_QUOTED_NAME: usize = 100;

/// The state of a server: its options, and its model once that is loaded.
pub struct App {
    /// The names of the model, at least one; responses carry the first.
    pub(super) models: Vec<String>,
    /// What the engine is.
    pub(super) manifest: Manifest,
    /// Longest sequence in tokens.
    pub(super) max_seq_len: usize,
    /// What the server was started with.
    pub settings: Settings,
    /// Shared with the scheduler, which counts in them too.
    pub metrics: Arc<Metrics>,
    /// The API keys; `None` lets everyone call.
    pub(super) keys: Option<Arc<KeyRing>>,
    /// What signs responses, if they are signed.
    pub(super) signer: Option<Signer>,
    /// Where spans are sent, if anywhere.
    pub(super) traces: Option<Traces>,
    /// Bytes of bodies that requests in flight may hold together.
    pub(super) bodies: ByteBudget,
    /// Limit on the bytes of text of all requests in flight, with each prompt counted once for each of its responses.
    pub(super) expanded: ByteBudget,
    /// Limit on the bytes of responses that list tokens, until they are sent.
    pub(super) lists: ByteBudget,
    /// Limit on the bytes of bodies that worker threads parse and tokenize at once.
    pub(super) preparing: ByteBudget,
    /// Worker threads for what a large body makes long.
    pub(super) background: Background,
    /// Notified when the server should drain and exit.
    pub(super) drain: Notify,
    /// When the process started, in seconds since 1970.
    pub(super) started: u64,
    model: OnceLock<LoadedModel>,
    engine_headers: OnceLock<EngineHeaders>,
}

/// Why a server cannot be set up.
#[derive(Debug, thiserror::Error)]
pub enum AppError {
    /// The metrics cannot be registered.
    #[error("the metrics cannot be registered: {0}")]
    Metrics(#[from] prometheus::Error),
    /// The API keys cannot be used.
    #[error(transparent)]
    Keys(#[from] KeyError),
    /// The signing key cannot be used.
    #[error("signing_key: {0}")]
    SigningKey(#[from] SigningKeyError),
    /// Worker threads cannot be started.
    #[error("cannot start worker threads: {0}")]
    Threads(#[source] std::io::Error),
    /// An option asks for a limit that the engine cannot have.
    #[error(transparent)]
    Limit(#[from] LimitError),
}

impl App {
    /// The state of a server whose engine is not loaded yet.
    ///
    /// # Errors
    /// The metrics cannot be registered, or the API keys or a limit are refused.
    pub fn new(settings: Settings, manifest: &Manifest) -> Result<Self, AppError> {
        let models = served_names(&settings.server.served_model_name, manifest);
        let limits = manifest.limits.lowered(&settings.engine.limits())?;
        let keys = settings.security.api_keys_file.as_deref().map(open_keys).transpose()?;
        let signer = settings.security.signing_key.as_deref().map(Signer::open).transpose()?;
        Ok(Self {
            metrics: Arc::new(Metrics::with_score_buckets(
                &models[0],
                &manifest.profile.name,
                &settings.scoring.score_buckets,
            )?),
            keys,
            signer,
            traces: None,
            bodies: ByteBudget::new(settings.server.max_inflight_bytes),
            expanded: ByteBudget::new(settings.server.max_inflight_bytes),
            lists: ByteBudget::new(settings.server.max_inflight_bytes),
            // Making token ids of a text takes many times its bytes.
            preparing: ByteBudget::new(settings.server.max_body_bytes),
            background: Background::new().map_err(AppError::Threads)?,
            drain: Notify::new(),
            manifest: manifest.clone(),
            max_seq_len: limits.max_seq_len,
            started: unix_time(),
            models,
            settings,
            model: OnceLock::new(),
            engine_headers: OnceLock::new(),
        })
    }

    /// Takes the loaded model into service. Later calls change nothing.
    pub fn start(&self, model: impl Into<LoadedModel>) {
        let model = model.into();
        self.metrics.set_limits(&model.limits());
        let simulated = self.settings.engine.simulate.is_some();
        if let Some(headers) = EngineHeaders::new(&model.identity(&self.manifest, simulated)) {
            let _ = self.engine_headers.set(headers);
        }
        let _ = self.model.set(model);
    }

    /// Reads the API keys again, if the server asks for keys. If their file cannot be used, the keys stay as they were.
    pub fn reload_keys(&self) {
        if let Some(keys) = &self.keys {
            keys.reload_and_log();
        }
    }

    /// Reads the signing key again, if there is one. If its file cannot be used, the key stays as it was.
    pub fn reload_signing_key(&self) {
        if let Some(signer) = &self.signer {
            signer.reload_and_log();
        }
    }

    /// What answers say of the engine; `None` until it is loaded.
    pub(super) fn engine_headers(&self) -> Option<&EngineHeaders> {
        self.engine_headers.get()
    }

    fn loaded(&self) -> Result<&LoadedModel, ApiError> {
        self.model.get().ok_or(ApiError::Starting)
    }

    /// The loaded reward model.
    ///
    /// # Errors
    /// [`ApiError::Starting`] until a model is loaded, [`ApiError::WrongTask`] if it generates text.
    pub(super) fn scorer(&self) -> Result<&Scorer, ApiError> {
        match self.loaded()? {
            LoadedModel::Scorer(scorer) => Ok(scorer),
            LoadedModel::Generator(_) => Err(ApiError::WrongTask(
                "the model served here generates text and has no scores; use POST /v1/chat/completions or \
                 /v1/completions, or send POST /v1/rewards a `rubric`",
            )),
        }
    }

    /// What scores by the rubrics of requests. Only a model that generates text has the logits for them.
    ///
    /// # Errors
    /// [`ApiError::Starting`] until a model is loaded.
    pub(super) fn rubric_scorer(&self) -> Result<&Scorer, ApiError> {
        Ok(match self.loaded()? {
            LoadedModel::Scorer(scorer) => scorer,
            LoadedModel::Generator(generator) => generator.scorer(),
        })
    }

    /// The loaded model that generates text.
    ///
    /// # Errors
    /// [`ApiError::Starting`] until a model is loaded, [`ApiError::WrongTask`] if it is a reward model.
    pub(super) fn generator(&self) -> Result<&Generator, ApiError> {
        match self.loaded()? {
            LoadedModel::Generator(generator) => Ok(generator),
            LoadedModel::Scorer(_) => Err(ApiError::WrongTask(
                "the model served here scores conversations and generates no text; use POST /v1/rewards or \
                 /v1/chat/completions",
            )),
        }
    }

    /// Whether the queue has room for a request and time before its deadline, whatever its texts are.
    ///
    /// # Errors
    /// It has none, or [`ApiError::Starting`] until a model is loaded.
    pub(super) fn check_room(&self, scheduling: Scheduling) -> Result<(), ApiError> {
        let checked = self.loaded()?.scheduler().check_room(scheduling.priority, scheduling.deadline());
        checked.map_err(|rejection| ApiError::without_item(rejection.into()))
    }

    /// The encoder of the loaded model's prompts.
    ///
    /// # Errors
    /// [`ApiError::Starting`] until a model is loaded.
    pub(super) fn encoder(&self) -> Result<&Encoder, ApiError> {
        Ok(self.loaded()?.encoder())
    }

    /// Whether requests can be answered now.
    pub fn ready(&self) -> bool {
        self.model.get().is_some_and(LoadedModel::ready)
    }

    /// Whether the engine computes a token within `timeout`.
    pub(super) async fn computes(&self, timeout: Duration) -> bool {
        let Some(model) = self.model.get() else { return false };
        matches!(tokio::time::timeout(timeout, model.compute_one_token()).await, Ok(Ok(_)))
    }

    /// Checks that a response with a list of what is in `field` may have `bytes` bytes.
    ///
    /// # Errors
    /// It would take more than all such responses may.
    pub(super) fn check_list(&self, field: &str, bytes: usize) -> Result<(), ApiError> {
        let most = self.lists.size();
        if bytes <= most {
            return Ok(());
        }
        let reason = format!(
            "has too many tokens: to list them takes more than {most} bytes; send it in several requests"
        );
        Err(ApiError::invalid(field, reason))
    }

    /// The model called `asked`, or the one under the server's first name if the request names none.
    ///
    /// # Errors
    /// [`ApiError::UnknownModel`] if no such model is served here.
    pub(super) fn model(&self, asked: Option<&str>) -> Result<Model<'_>, ApiError> {
        let find = |asked| find_model(&self.models, &self.settings.server.alias, asked);
        let unnamed = asked.is_some_and(|name| UNNAMED.contains(&name));
        find(asked).or_else(|| find(None).filter(|_| unnamed)).ok_or_else(|| ApiError::UnknownModel {
            asked: asked.unwrap_or_default().chars().take(MAX_QUOTED_NAME).collect(),
            served: self.served().collect::<Vec<_>>().join(", "),
        })
    }

    /// Every name of the model, aliases last.
    pub(super) fn served(&self) -> impl Iterator<Item = &str> {
        let aliases = self.settings.server.alias.iter().map(|alias| alias.name.as_str());
        self.models.iter().map(String::as_str).chain(aliases)
    }
}

fn open_keys(file: &Path) -> Result<Arc<KeyRing>, KeyError> {
    Ok(Arc::new(KeyRing::open(file)?))
}
