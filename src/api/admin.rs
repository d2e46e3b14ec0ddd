//! The admin port: what an operator may do to a running server. It is open on the loopback address alone.

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::{StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use serde_json::json;

use super::app::App;
use super::error::ApiError;
use crate::telemetry::logs;

pub(super) fn router(app: Arc<App>) -> Router {
    Router::new()
        .route("/admin/log-level", get(log_level).put(set_log_level))
        .route("/admin/reload-keys", post(reload_keys))
        .route("/admin/drain", post(drain))
        .layer(middleware::from_fn(refuse_web_pages))
        .with_state(app)
}

/// Pages in a browser on this machine can reach the loopback address too; browsers say where they are from.
async fn refuse_web_pages(request: Request, next: Next) -> Result<Response, ApiError> {
    if request.headers().contains_key(header::ORIGIN) {
        return Err(ApiError::FromWebPage);
    }
    Ok(next.run(request).await)
}

async fn log_level() -> Response {
    Json(json!({ "log_level": logs::level() })).into_response()
}

/// The body is a level as `--log-level` takes it.
async fn set_log_level(level: String) -> Result<Response, ApiError> {
    let level = level.trim();
    logs::set_level(level).map_err(|error| ApiError::invalid("log_level", error.to_string()))?;
    tracing::info!(level, "log level set");
    Ok(log_level().await)
}

async fn reload_keys(State(app): State<Arc<App>>) -> Result<Response, ApiError> {
    let Some(keys) = &app.keys else {
        return Err(ApiError::invalid("api_keys_file", "is not set, so there are no keys to reload"));
    };
    let keys = keys.reload().map_err(|error| ApiError::invalid("api_keys_file", error.to_string()))?;
    tracing::info!(keys, "API keys reloaded");
    Ok(Json(json!({ "keys": keys })).into_response())
}

/// Does what SIGTERM does.
async fn drain(State(app): State<Arc<App>>) -> Response {
    app.drain.notify_one();
    (StatusCode::ACCEPTED, Json(json!({ "draining": true }))).into_response()
}
