//! Routes about the server itself: models, health, version, metrics.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Path, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use serde_json::Value;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::app::App;
use super::error::ApiError;
use super::openapi::Errors;
use crate::manifest::SamplingDefaults;
use crate::manifest::score_options::ScoreOptions;
use crate::prompt::TemplateVariables;
use crate::serving::Scorer;

pub(super) fn health() -> OpenApiRouter<Arc<App>> {
    OpenApiRouter::new().routes(routes!(ready)).routes(routes!(live))
}

pub(super) fn routes() -> OpenApiRouter<Arc<App>> {
    OpenApiRouter::new().routes(routes!(models)).routes(routes!(model)).routes(routes!(version))
}

pub(super) fn metrics_routes() -> OpenApiRouter<Arc<App>> {
    OpenApiRouter::new().routes(routes!(metrics)).routes(routes!(metrics_v1))
}

#[derive(Serialize, ToSchema)]
struct Models<'a> {
    object: &'static str,
    data: Vec<Model<'a>>,
}

#[derive(Serialize, ToSchema)]
struct Model<'a> {
    id: &'a str,
    object: &'static str,
    created: u64,
    owned_by: &'static str,
    /// The first name of the model.
    root: &'a str,
    /// The model that an alias refers to; null if this is not an alias.
    parent: Option<&'a str>,
    /// Names of its scores, once the engine is loaded; absent if the model scores steps.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    attributes: Vec<&'a str>,
    /// The score that ranks responses unless a request names another.
    #[serde(skip_serializing_if = "Option::is_none")]
    ranked_by: Option<String>,
    /// The token to put after each step, if the model scores steps.
    #[serde(skip_serializing_if = "Option::is_none")]
    step_token: Option<&'a str>,
    max_model_len: usize,
    #[serde(skip_serializing_if = "Option::is_none")]
    score_options: Option<&'a ScoreOptions>,
    /// Variables that the chat template has for every conversation, if there are some.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Object>)]
    chat_template_kwargs: Option<Value>,
    /// Default sampling parameters that differ from OpenAI's.
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

/// Lists every name that the model answers to.
#[utoipa::path(get, path = "/v1/models", tag = "service", responses((status = 200, body = Models)))]
async fn models(State(app): State<Arc<App>>) -> Result<Response, ApiError> {
    let mut data = Vec::new();
    for name in app.served() {
        data.push(describe(&app, name)?);
    }
    Ok(Json(Models { object: "list", data }).into_response())
}

/// Describes one of the names.
#[utoipa::path(
    get,
    path = "/v1/models/{*name}",
    tag = "service",
    params(("name" = String, Path)),
    responses((status = 200, body = Model), Errors),
)]
async fn model(State(app): State<Arc<App>>, Path(name): Path<String>) -> Result<Response, ApiError> {
    Ok(Json(describe(&app, &name)?).into_response())
}

fn describe<'a>(app: &'a App, name: &'a str) -> Result<Model<'a>, ApiError> {
    let model = app.model(Some(name))?;
    let root = app.models[0].as_str();
    let (scorer, generator) = (app.scorer().ok(), app.generator().ok());
    let defaults = generator.map(|generator| generator.defaults());
    let variables = app.encoder()?.variables();
    Ok(Model {
        id: name,
        object: "model",
        created: app.started,
        owned_by: "assay",
        root,
        parent: (model.name != root).then_some(root),
        attributes: scorer.map(|scorer| model.names(scorer.head())).unwrap_or_default(),
        ranked_by: scorer.map(|scorer| model.single_name(scorer.head())),
        step_token: scorer.and_then(|scorer| scorer.head().step_token()),
        max_model_len: app.max_seq_len,
        score_options: scorer.and_then(Scorer::score_options),
        chat_template_kwargs: Some(variables)
            .filter(|variables| !variables.is_empty())
            .map(TemplateVariables::to_json),
        sampling_defaults: defaults.filter(|defaults| !defaults.is_empty()),
    })
}

/// Says whether requests can be answered.
#[utoipa::path(
    get,
    path = "/v1/health/ready",
    tag = "service",
    responses((status = 200, body = Health), (status = 503, body = Health)),
)]
async fn ready(State(app): State<Arc<App>>) -> Response {
    let (status, message) = if app.ready() {
        (StatusCode::OK, "Service is ready.")
    } else {
        (StatusCode::SERVICE_UNAVAILABLE, "Service is not ready.")
    };
    (status, Json(Health { object: "health.response", message })).into_response()
}

/// Answers as long as the process responds.
#[utoipa::path(get, path = "/v1/health/live", tag = "service", responses((status = 200, body = Health)))]
async fn live() -> Response {
    Json(Health { object: "health.response", message: "Service is live." }).into_response()
}

/// The versions of the server and of its API.
#[utoipa::path(get, path = "/v1/version", tag = "service", responses((status = 200, body = Version)))]
async fn version() -> Response {
    Json(Version { release: env!("CARGO_PKG_VERSION"), api: "v1" }).into_response()
}

/// The metrics, in Prometheus' text format.
#[utoipa::path(
    get,
    path = "/metrics",
    tag = "service",
    responses((status = 200, body = String, content_type = "text/plain")),
)]
async fn metrics(State(app): State<Arc<App>>) -> Result<Response, ApiError> {
    let rendered = tokio::task::spawn_blocking(move || app.metrics.render()).await;
    let text = rendered.map_err(ApiError::internal)?.map_err(ApiError::internal)?;
    Ok(([(header::CONTENT_TYPE, "text/plain; version=0.0.4")], text).into_response())
}

/// The same as at `/metrics`.
#[utoipa::path(
    get,
    path = "/v1/metrics",
    tag = "service",
    responses((status = 200, body = String, content_type = "text/plain")),
)]
async fn metrics_v1(state: State<Arc<App>>) -> Result<Response, ApiError> {
    metrics(state).await
}
