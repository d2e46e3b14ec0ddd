//! HTTP: one file per topic.
//!
//! [`router`] is the whole surface. [`serve`] puts it on a port and takes it off again.

mod admin;
mod answer;
mod body;
mod by_attribute;
mod chat;
mod chat_request;
mod compat;
mod cors;
mod error;
mod fields;
mod generation;
mod keys;
mod listen;
mod messages;
mod nim;
mod observe;
mod openapi;
mod playground;
mod request;
mod rewards;
pub mod serve;
mod service;
mod watched;

use std::sync::{Arc, OnceLock};

use axum::http::{Method, Uri};
use axum::routing::{get, post};
use axum::{Router, middleware};
use tokio::sync::Notify;
use tower_http::catch_panic::CatchPanicLayer;

pub use chat_request::ChatRequest;
pub use error::{ApiError, Class, ErrorObject, Failure};
pub use keys::KeyRing;
pub use request::SchedulingFields;

use crate::config::Settings;
use crate::manifest::Manifest;
use crate::prompt::Encoder;
use crate::serving::{self, Generator, LoadedModel, Model, Scorer, served_names};
use crate::telemetry::Metrics;
use crate::telemetry::traces::Traces;

/// What every handler shares.
pub struct App {
    /// Names the model answers to; not empty. Answers bear the first.
    pub models: Vec<String>,
    /// What the engine is.
    pub manifest: Manifest,
    /// Longest sequence in tokens.
    pub max_seq_len: usize,
    /// Options.
    pub settings: Settings,
    /// Metrics.
    pub metrics: Arc<Metrics>,
    /// Who may call; anyone where it is none.
    pub keys: Option<Arc<KeyRing>>,
    /// Where spans go, if anywhere.
    pub traces: Option<Traces>,
    /// Told when the server is to drain and end.
    pub drain: Notify,
    /// When the process started, in seconds since 1970.
    pub started: u64,
    /// Set once the engine is loaded.
    engine: OnceLock<LoadedModel>,
}

impl App {
    /// The server of one engine, before that engine is loaded.
    ///
    /// # Errors
    /// A limit, the API keys or the origins are refused, or the metrics cannot be made; the text says why.
    pub fn new(settings: Settings, manifest: &Manifest) -> Result<Self, String> {
        let models = served_names(&settings, manifest);
        let limits = manifest.limits.lowered(&settings.engine.limits()).map_err(|error| error.to_string())?;
        let metrics = Metrics::new(&models[0], &manifest.profile.name).map_err(|error| error.to_string())?;
        Ok(Self {
            metrics: Arc::new(metrics),
            keys: settings.security.api_keys_file.as_deref().map(KeyRing::open).transpose()?.map(Arc::new),
            traces: None,
            drain: Notify::new(),
            manifest: manifest.clone(),
            max_seq_len: limits.max_seq_len,
            started: answer::unix_time(),
            models,
            settings,
            engine: OnceLock::new(),
        })
    }

    /// Takes the loaded model into service. Later calls change nothing.
    pub fn start(&self, model: impl Into<LoadedModel>) {
        let model = model.into();
        self.metrics.limits(&model.limits());
        let _ = self.engine.set(model);
    }

    /// The loaded engine of a reward model.
    ///
    /// # Errors
    /// [`ApiError::Starting`] until there is one, [`ApiError::WrongTask`] if it generates.
    pub fn scorer(&self) -> Result<&Scorer, ApiError> {
        match self.engine.get().ok_or(ApiError::Starting)? {
            LoadedModel::Scorer(scorer) => Ok(scorer),
            LoadedModel::Generator(_) => Err(ApiError::WrongTask(
                "the model served here generates text and has no scores; use POST /v1/chat/completions or \
                 /v1/completions",
            )),
        }
    }

    /// The loaded engine of a model that generates.
    ///
    /// # Errors
    /// [`ApiError::Starting`] until there is one, [`ApiError::WrongTask`] if it scores.
    pub fn generator(&self) -> Result<&Generator, ApiError> {
        match self.engine.get().ok_or(ApiError::Starting)? {
            LoadedModel::Generator(generator) => Ok(generator),
            LoadedModel::Scorer(_) => Err(ApiError::WrongTask(
                "the model served here scores conversations and generates no text; use POST /v1/rewards or \
                 /v1/chat/completions",
            )),
        }
    }

    /// What makes token ids for the loaded engine.
    fn encoder(&self) -> Result<&Encoder, ApiError> {
        Ok(self.engine.get().ok_or(ApiError::Starting)?.encoder())
    }

    /// Whether requests can be answered.
    pub fn ready(&self) -> bool {
        self.engine.get().is_some_and(LoadedModel::ready)
    }

    /// The model that a request asks for; the server's own if it asks for none.
    ///
    /// # Errors
    /// No such model is served here.
    pub(crate) fn model(&self, asked: Option<&str>) -> Result<Model<'_>, ApiError> {
        serving::find_model(&self.models, &self.settings.server.alias, asked).ok_or_else(|| {
            let aliases = self.settings.server.alias.iter().map(|alias| alias.name.as_str());
            let served: Vec<_> = self.models.iter().map(String::as_str).chain(aliases).collect();
            ApiError::UnknownModel { asked: asked.unwrap_or_default().to_owned(), served: served.join(", ") }
        })
    }
}

/// The whole HTTP surface.
///
/// # Errors
/// The origins that may call are refused; the text says why.
pub fn router(app: Arc<App>) -> Result<Router, String> {
    let origins = &app.settings.security.cors_origin;
    let cors = if origins.is_empty() { None } else { Some(cors::layer(origins)?) };
    let metrics = if app.settings.server.metrics_port.is_none() { metrics_routes() } else { Router::new() };
    let playground = if app.settings.server.playground { playground::routes() } else { Router::new() };
    let routes = Router::new()
        .route("/v1/chat/completions", post(chat::completions))
        .route("/v1/rewards", post(rewards::rewards))
        .route("/v1/models", get(service::models))
        .route("/v1/models/{*name}", get(service::model))
        .route("/v1/health/ready", get(service::ready))
        .route("/v1/health/live", get(service::live))
        .route("/v1/version", get(service::version))
        .merge(metrics)
        .route("/v1/metadata", get(nim::metadata))
        .route("/v1/manifest", get(nim::manifest))
        .route("/v1/license", get(nim::license))
        .merge(generation::routes())
        .merge(compat::routes())
        .merge(openapi::routes(&app))
        .merge(playground)
        .fallback(async |uri: Uri| ApiError::UnknownRoute(uri.path().to_owned()))
        .method_not_allowed_fallback(async |method: Method, uri: Uri| {
            ApiError::WrongMethod(uri.path().to_owned(), method.to_string())
        })
        .layer(middleware::from_fn_with_state(app.clone(), keys::require))
        .layer(CatchPanicLayer::custom(observe::panicked))
        .layer(middleware::from_fn_with_state(app.clone(), observe::observe));
    Ok(match cors {
        Some(cors) => routes.layer(cors),
        None => routes,
    }
    .with_state(app))
}

/// The metrics, at both of their paths.
fn metrics_routes() -> Router<Arc<App>> {
    Router::new().route("/v1/metrics", get(service::metrics_v1)).route("/metrics", get(service::metrics))
}
