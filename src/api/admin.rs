//! What an operator may do to a running server, at a port of the loopback address.

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::{StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use serde_json::json;

use super::{ApiError, App};
use crate::telemetry::logs;

/// The admin routes.
pub(super) fn router(app: Arc<App>) -> Router {
    Router::new()
        .route("/admin/log-level", get(log_level).put(set_log_level))
        .route("/admin/reload-keys", post(reload_keys))
        .route("/admin/drain", post(drain))
        .layer(middleware::from_fn(no_pages))
        .with_state(app)
}

/// Pages in a browser on this machine can reach the loopback address too; they say where they are from.
async fn no_pages(request: Request, next: Next) -> Response {
    match request.headers().contains_key(header::ORIGIN) {
        true => (StatusCode::FORBIDDEN, "the admin port does not answer pages\n").into_response(),
        false => next.run(request).await,
    }
}

/// `GET /admin/log-level`.
async fn log_level() -> Response {
    Json(json!({ "log_level": logs::level() })).into_response()
}

/// `PUT /admin/log-level`, whose body is as `--log-level`.
async fn set_log_level(level: String) -> Result<Response, ApiError> {
    logs::set_level(level.trim()).map_err(|reason| ApiError::Invalid("log_level".into(), reason))?;
    tracing::info!(level = level.trim(), "log level set");
    Ok(log_level().await)
}

/// `POST /admin/reload-keys`.
async fn reload_keys(State(app): State<Arc<App>>) -> Result<Response, ApiError> {
    let wrong = |reason| ApiError::Invalid("api_keys_file".into(), reason);
    let keys = app.keys.as_ref().ok_or_else(|| wrong("is not set: no key is asked for".into()))?;
    let keys = keys.reload().map_err(wrong)?;
    tracing::info!(keys, "API keys read again");
    Ok(Json(json!({ "keys": keys })).into_response())
}

/// `POST /admin/drain`: as SIGTERM.
async fn drain(State(app): State<Arc<App>>) -> Response {
    app.drain.notify_one();
    (StatusCode::ACCEPTED, Json(json!({ "draining": true }))).into_response()
}
