//! `POST /get_reward`: OpenRLHF's remote reward model.

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::response::Response;
use serde::Serialize;
use serde_json::{Map, Value};
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::inputs::{Input, InputText, texts};
use super::scoring::TrainerSchema;
use super::scoring::{CompatRequest, UnknownFields, score};
use crate::api::app::App;
use crate::api::error::ApiError;
use crate::api::fields::Fields;
use crate::api::openapi::Errors;
use crate::config::ServerSettings;

pub(super) fn routes() -> OpenApiRouter<Arc<App>> {
    OpenApiRouter::new().routes(routes!(get_reward))
}

/// Texts with the chat template applied. Other fields are ignored.
#[derive(ToSchema)]
#[expect(dead_code, reason = "the schema of what `read` reads")]
struct GetRewardRequest {
    /// Empty if a rank of the trainer has no samples.
    query: Vec<String>,
    #[serde(flatten)]
    shared: TrainerSchema,
}

#[derive(Debug, Serialize, ToSchema)]
struct GetRewardResponse<'a> {
    rewards: &'a [f64],
    /// The same again: OpenRLHF filters by these.
    scores: &'a [f64],
    #[schema(value_type = Object)]
    extra_logs: Map<String, Value>,
}

/// Scores texts to which the trainer has applied the chat template.
#[utoipa::path(
    post,
    path = "/get_reward",
    tag = "compatibility",
    request_body(content = GetRewardRequest, example = json!({
        "query": ["<|begin_of_text|><|start_header_id|>user<|end_header_id|>\n\nHello<|eot_id|><|start_header_id|>assistant<|end_header_id|>\n\nGood day<|eot_id|>"]
    })),
    responses((status = 200, body = GetRewardResponse), Errors),
)]
pub(in crate::api) async fn get_reward(
    State(app): State<Arc<App>>,
    request: Request,
) -> Result<Response, ApiError> {
    let texts = score(&app, request, UnknownFields::Ignore, read).await?;
    let rewards = texts.singles()?;
    Ok(texts.respond(GetRewardResponse { rewards: &rewards, scores: &rewards, extra_logs: Map::new() }))
}

fn read(fields: &mut Fields, settings: &ServerSettings) -> Result<CompatRequest<()>, ApiError> {
    let mut inputs = Vec::new();
    for (index, text) in texts(fields, "query", settings)?.into_iter().enumerate() {
        inputs.push(Input::at(format!("query[{index}]"), InputText::Templated(text)));
    }
    Ok(CompatRequest::new(inputs, ()))
}
