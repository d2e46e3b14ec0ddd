//! What the server says of itself: models, health, version, metrics.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Path, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;

use super::{ApiError, App, Scorer};
use crate::engine::score_options::ScoreOptions;

#[derive(Serialize)]
struct List<'a> {
    object: &'static str,
    data: Vec<Model<'a>>,
}

#[derive(Serialize)]
struct Model<'a> {
    id: &'a str,
    object: &'static str,
    created: u64,
    owned_by: &'static str,
    root: &'a str,
    max_model_len: usize,
    #[serde(skip_serializing_if = "Option::is_none")]
    score_options: Option<&'a ScoreOptions>,
}

#[derive(Serialize)]
struct Health {
    object: &'static str,
    message: &'static str,
}

#[derive(Serialize)]
struct Version {
    release: &'static str,
    api: &'static str,
}

/// `GET /v1/models`: every name that the model answers to.
pub(super) async fn models(State(app): State<Arc<App>>) -> Response {
    let data = app.models.iter().map(|name| describe(&app, name)).collect();
    Json(List { object: "list", data }).into_response()
}

/// `GET /v1/models/NAME`.
pub(super) async fn model(
    State(app): State<Arc<App>>,
    Path(name): Path<String>,
) -> Result<Response, ApiError> {
    app.check_model(&name)?;
    Ok(Json(describe(&app, &name)).into_response())
}

fn describe<'a>(app: &'a App, name: &'a str) -> Model<'a> {
    Model {
        id: name,
        object: "model",
        created: app.started,
        owned_by: "assay",
        root: &app.models[0],
        max_model_len: app.max_seq_len,
        score_options: app.scorer().ok().and_then(Scorer::score_options),
    }
}

/// `GET /v1/health/ready`: whether requests can be answered.
pub(super) async fn ready(State(app): State<Arc<App>>) -> Response {
    let (status, message) = match app.ready() {
        true => (StatusCode::OK, "Service is ready."),
        false => (StatusCode::SERVICE_UNAVAILABLE, "Service is not ready."),
    };
    (status, Json(Health { object: "health.response", message })).into_response()
}

/// `GET /v1/health/live`: whether the process answers at all.
pub(super) async fn live() -> Response {
    Json(Health { object: "health.response", message: "Service is live." }).into_response()
}

/// `GET /v1/version`.
pub(super) async fn version() -> Response {
    Json(Version { release: env!("CARGO_PKG_VERSION"), api: "v1" }).into_response()
}

/// `GET /metrics` and `GET /v1/metrics`.
pub(super) async fn metrics(State(app): State<Arc<App>>) -> Result<Response, ApiError> {
    let text = app.metrics.render().map_err(|error| ApiError::Internal(error.to_string()))?;
    Ok(([(header::CONTENT_TYPE, "text/plain; version=0.0.4")], text).into_response())
}
