//! What probes, launchers and load balancers of other servers ask, without a key: `GET /health` and its like.

use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::api::app::App;

/// How long `GET /health_generate` waits for the engine, as SGLang does.
const TIMEOUT: Duration = Duration::from_secs(20);

/// The routes that ask for no key.
pub(super) fn open_routes() -> OpenApiRouter<Arc<App>> {
    OpenApiRouter::new()
        .routes(routes!(health))
        .routes(routes!(ready))
        .routes(routes!(ping))
        .routes(routes!(health_generate))
}

pub(super) fn routes() -> OpenApiRouter<Arc<App>> {
    OpenApiRouter::new().routes(routes!(version)).routes(routes!(load))
}

#[derive(Debug, Serialize, ToSchema)]
#[schema(as = VllmVersion)]
struct Version {
    version: &'static str,
}

#[derive(Debug, Serialize, ToSchema)]
struct Load {
    /// Sequences that are running or waiting.
    server_load: i64,
}

fn status(ready: bool) -> StatusCode {
    if ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE }
}

/// The status says whether requests can be answered, as in vLLM, SGLang and TEI.
#[utoipa::path(
    get,
    path = "/health",
    tag = "service",
    responses((status = 200, description = "Ready"), (status = 503, description = "Not ready")),
)]
async fn health(State(app): State<Arc<App>>) -> StatusCode {
    status(app.ready())
}

/// The same as at `/health`, under SGLang's name.
#[utoipa::path(
    get,
    path = "/ready",
    tag = "service",
    responses((status = 200, description = "Ready"), (status = 503, description = "Not ready")),
)]
async fn ready(app: State<Arc<App>>) -> StatusCode {
    health(app).await
}

/// The same as at `/health`, for SageMaker.
#[utoipa::path(
    method(get, post),
    path = "/ping",
    tag = "service",
    responses((status = 200, description = "Ready"), (status = 503, description = "Not ready")),
)]
async fn ping(app: State<Arc<App>>) -> StatusCode {
    health(app).await
}

/// Has the engine compute one token; the status says whether it did so within 20 s.
#[utoipa::path(
    get,
    path = "/health_generate",
    tag = "service",
    responses((status = 200, description = "The engine computes"), (status = 503, description = "It does not")),
)]
async fn health_generate(State(app): State<Arc<App>>) -> StatusCode {
    status(app.computes(TIMEOUT).await)
}

/// The version of the server, as vLLM gives it.
#[utoipa::path(get, path = "/version", tag = "service", responses((status = 200, body = Version)))]
async fn version() -> Response {
    Json(Version { version: env!("CARGO_PKG_VERSION") }).into_response()
}

/// How busy the server is, as vLLM gives it.
#[utoipa::path(get, path = "/load", tag = "service", responses((status = 200, body = Load)))]
async fn load(State(app): State<Arc<App>>) -> Response {
    Json(Load { server_load: app.metrics.load() }).into_response()
}
