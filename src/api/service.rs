//! What the server says of itself: models, health, version, metrics.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Path, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use utoipa::ToSchema;

use super::openapi::Errors;
use super::{ApiError, App};
use crate::manifest::SamplingDefaults;
use crate::manifest::score_options::ScoreOptions;
use crate::serving::{Generator, Scorer};

#[derive(Serialize, ToSchema)]
#[schema(as = Models)]
struct List<'a> {
    object: &'static str,
    data: Vec<Described<'a>>,
}

#[derive(Serialize, ToSchema)]
#[schema(as = Model)]
struct Described<'a> {
    id: &'a str,
    object: &'static str,
    created: u64,
    owned_by: &'static str,
    /// The model whose engine it is.
    root: &'a str,
    /// Of an alias, the model it is an alias of.
    parent: Option<&'a str>,
    /// Names of its scores, once the engine is loaded; none of a model that scores steps.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    attributes: Vec<&'a str>,
    max_model_len: usize,
    #[serde(skip_serializing_if = "Option::is_none")]
    score_options: Option<&'a ScoreOptions>,
    /// How a model that generates samples where a request does not say and OpenAI's defaults do not hold.
    #[serde(skip_serializing_if = "Option::is_none")]
    sampling_defaults: Option<&'a SamplingDefaults>,
}

#[derive(Serialize, ToSchema)]
struct Health {
    object: &'static str,
    message: &'static str,
}

#[derive(Serialize, ToSchema)]
struct Version {
    release: &'static str,
    api: &'static str,
}

/// `GET /v1/models`: every name that the model answers to.
#[utoipa::path(get, path = "/v1/models", tag = "service", responses((status = 200, body = List)))]
pub(super) async fn models(State(app): State<Arc<App>>) -> Result<Response, ApiError> {
    let aliases = app.settings.server.alias.iter().map(|alias| alias.name.as_str());
    let names = app.models.iter().map(String::as_str).chain(aliases);
    let data = names.map(|name| describe(&app, name)).collect::<Result<_, _>>()?;
    Ok(Json(List { object: "list", data }).into_response())
}

/// `GET /v1/models/NAME`.
#[utoipa::path(get, path = "/v1/models/{name}", tag = "service", params(("name" = String, Path)), responses((status = 200, body = Described), Errors))]
pub(super) async fn model(
    State(app): State<Arc<App>>,
    Path(name): Path<String>,
) -> Result<Response, ApiError> {
    Ok(Json(describe(&app, &name)?).into_response())
}

fn describe<'a>(app: &'a App, name: &'a str) -> Result<Described<'a>, ApiError> {
    let model = app.model(Some(name))?;
    let root = app.models[0].as_str();
    let scorer = app.scorer().ok();
    Ok(Described {
        id: name,
        object: "model",
        created: app.started,
        owned_by: "assay",
        root,
        parent: (model.name != root).then_some(root),
        attributes: scorer.map(|scorer| model.names(scorer.head())).unwrap_or_default(),
        max_model_len: app.max_seq_len,
        score_options: scorer.and_then(Scorer::score_options),
        sampling_defaults: app
            .generator()
            .ok()
            .map(Generator::defaults)
            .filter(|defaults| !defaults.is_empty()),
    })
}

/// `GET /v1/health/ready`: whether requests can be answered.
#[utoipa::path(get, path = "/v1/health/ready", tag = "service", responses((status = 200, body = Health), (status = 503, body = Health)))]
pub(super) async fn ready(State(app): State<Arc<App>>) -> Response {
    let (status, message) = match app.ready() {
        true => (StatusCode::OK, "Service is ready."),
        false => (StatusCode::SERVICE_UNAVAILABLE, "Service is not ready."),
    };
    (status, Json(Health { object: "health.response", message })).into_response()
}

/// `GET /v1/health/live`: whether the process answers at all.
#[utoipa::path(get, path = "/v1/health/live", tag = "service", responses((status = 200, body = Health)))]
pub(super) async fn live() -> Response {
    Json(Health { object: "health.response", message: "Service is live." }).into_response()
}

/// `GET /v1/version`.
#[utoipa::path(get, path = "/v1/version", tag = "service", responses((status = 200, body = Version)))]
pub(super) async fn version() -> Response {
    Json(Version { release: env!("CARGO_PKG_VERSION"), api: "v1" }).into_response()
}

/// `GET /metrics` and `GET /v1/metrics`.
#[utoipa::path(get, path = "/metrics", tag = "service", responses((status = 200, body = String, content_type = "text/plain")))]
pub(super) async fn metrics(State(app): State<Arc<App>>) -> Result<Response, ApiError> {
    let internal = |error: &dyn std::fmt::Display| ApiError::Internal(error.to_string());
    let rendered = tokio::task::spawn_blocking(move || app.metrics.render()).await;
    let text = rendered.map_err(|error| internal(&error))?.map_err(|error| internal(&error))?;
    Ok(([(header::CONTENT_TYPE, "text/plain; version=0.0.4")], text).into_response())
}

/// The same as at `/metrics`.
#[utoipa::path(get, path = "/v1/metrics", tag = "service",
               responses((status = 200, body = String, content_type = "text/plain")))]
pub(super) async fn metrics_v1(state: State<Arc<App>>) -> Result<Response, ApiError> {
    metrics(state).await
}
