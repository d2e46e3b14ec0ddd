//! `GET /model_info` and `GET /server_info` of SGLang, which its router and trainers read before they send work.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::api::app::App;

pub(super) fn routes() -> OpenApiRouter<Arc<App>> {
    OpenApiRouter::new()
        .routes(routes!(model_info))
        .routes(routes!(get_model_info))
        .routes(routes!(server_info))
        .routes(routes!(get_server_info))
}

#[derive(Debug, Serialize, ToSchema)]
#[schema(as = SglangModelInfo)]
struct ModelInfo<'a> {
    /// The engine directory.
    model_path: String,
    served_model_name: &'a str,
    tokenizer_path: String,
    /// Whether the model generates text.
    is_generation: bool,
    /// The engine's profile id, which changes whenever the weights do.
    weight_version: &'a str,
    has_image_understanding: bool,
    has_audio_understanding: bool,
    model_type: &'a str,
    architectures: [&'a str; 1],
}

#[derive(Debug, Serialize, ToSchema)]
#[schema(as = SglangServerInfo)]
struct ServerInfo<'a> {
    model_path: String,
    served_model_name: &'a str,
    version: &'static str,
    context_length: usize,
    max_running_requests: usize,
    max_total_num_tokens: usize,
    dp_size: usize,
}

/// What the model is.
#[utoipa::path(get, path = "/model_info", tag = "service", responses((status = 200, body = ModelInfo)))]
async fn model_info(State(app): State<Arc<App>>) -> Response {
    let path = app.settings.engine.directory.display().to_string();
    let model = &app.manifest.model;
    Json(ModelInfo {
        tokenizer_path: path.clone(),
        model_path: path,
        served_model_name: &app.models[0],
        is_generation: app.manifest.task.generates(),
        weight_version: &app.manifest.profile.id,
        has_image_understanding: false,
        has_audio_understanding: false,
        model_type: &model.family,
        architectures: [&model.architecture],
    })
    .into_response()
}

/// The same as at `/model_info`, under its older name.
#[utoipa::path(get, path = "/get_model_info", tag = "service", responses((status = 200, body = ModelInfo)))]
async fn get_model_info(app: State<Arc<App>>) -> Response {
    model_info(app).await
}

/// What the server can hold.
#[utoipa::path(get, path = "/server_info", tag = "service", responses((status = 200, body = ServerInfo)))]
async fn server_info(State(app): State<Arc<App>>) -> Response {
    let limits = &app.manifest.limits;
    Json(ServerInfo {
        model_path: app.settings.engine.directory.display().to_string(),
        served_model_name: &app.models[0],
        version: env!("CARGO_PKG_VERSION"),
        context_length: app.max_seq_len,
        max_running_requests: limits.max_batch_size,
        max_total_num_tokens: limits.max_num_tokens,
        dp_size: 1,
    })
    .into_response()
}

/// The same as at `/server_info`, under its older name.
#[utoipa::path(get, path = "/get_server_info", tag = "service", responses((status = 200, body = ServerInfo)))]
async fn get_server_info(app: State<Arc<App>>) -> Response {
    server_info(app).await
}
