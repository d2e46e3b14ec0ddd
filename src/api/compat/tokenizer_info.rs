//! `GET /tokenizer_info`, which vLLM has and lm-evaluation-harness asks for: the tokenizer's configuration.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::api::app::App;
use crate::api::error::ApiError;
use crate::api::openapi::Errors;

pub(super) fn routes() -> OpenApiRouter<Arc<App>> {
    OpenApiRouter::new().routes(routes!(tokenizer_info))
}

#[derive(Debug, Serialize, ToSchema)]
struct TokenizerInfo<'a> {
    /// The class that transformers has for any `tokenizer.json`.
    tokenizer_class: &'static str,
    /// Maximum number of tokens that the engine takes.
    model_max_length: usize,
    /// Null for a model without one.
    chat_template: Option<&'a str>,
    /// By name, such as `eos_token`.
    #[serde(flatten)]
    special_tokens: &'a BTreeMap<String, String>,
}

/// Describes the model's tokenizer, in vLLM's format.
#[utoipa::path(
    get,
    path = "/tokenizer_info",
    tag = "text",
    responses((status = 200, body = TokenizerInfo), Errors),
)]
async fn tokenizer_info(State(app): State<Arc<App>>) -> Result<Response, ApiError> {
    let template = app.encoder()?.template_source();
    Ok(Json(TokenizerInfo {
        tokenizer_class: "PreTrainedTokenizerFast",
        model_max_length: app.max_seq_len,
        chat_template: Some(template).filter(|template| !template.is_empty()),
        special_tokens: &app.manifest.prompt.special_tokens,
    })
    .into_response())
}
