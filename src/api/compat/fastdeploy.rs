//! `POST /v1/reward`: FastDeploy's route, which its documentation calls `/v1/chat/reward`.

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::response::Response;
use serde::Serialize;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::inputs::InputSchema;
use super::inputs::messages_or_input;
use super::scoring::SharedSchema;
use super::scoring::{CompatRequest, UnknownFields, score};
use crate::api::app::App;
use crate::api::error::ApiError;
use crate::api::fields::Fields;
use crate::api::messages::PromptEndSchema;
use crate::api::messages::Turn;
use crate::api::openapi::Errors;
use crate::api::wire::{Usage, new_id, unix_time};
use crate::config::ServerSettings;

pub(super) fn routes() -> OpenApiRouter<Arc<App>> {
    OpenApiRouter::new().routes(routes!(reward)).routes(routes!(chat_reward))
}

/// A conversation.
#[derive(ToSchema)]
#[expect(dead_code, reason = "the schema of what `read` reads")]
struct RewardRequest {
    /// Or `input`.
    #[schema(min_items = 1)]
    messages: Option<Vec<Turn>>,
    input: Option<InputSchema>,
    /// Whether the tokens that every text of the model has are added to `input` where it lacks them.
    add_special_tokens: Option<bool>,
    #[serde(flatten)]
    prompt_end: PromptEndSchema,
    #[serde(flatten)]
    shared: SharedSchema,
}

#[derive(Debug, Serialize, ToSchema)]
struct ListedRewards<'a> {
    id: String,
    object: &'static str,
    created: u64,
    model: &'a str,
    data: Vec<ListedReward>,
    usage: Usage,
}

#[derive(Debug, Serialize, ToSchema)]
struct ListedReward {
    index: usize,
    object: &'static str,
    /// In the model's order.
    score: Vec<f64>,
}

/// Scores a conversation.
#[utoipa::path(
    post,
    path = "/v1/reward",
    tag = "compatibility",
    request_body(content = RewardRequest, example = json!({
        "messages": [{"role": "user", "content": "Hello"}, {"role": "assistant", "content": "Good day"}]
    })),
    responses((status = 200, body = ListedRewards), Errors),
)]
async fn reward(State(app): State<Arc<App>>, request: Request) -> Result<Response, ApiError> {
    answer(&app, request).await
}

/// The same as at `/v1/reward`.
#[utoipa::path(
    post,
    path = "/v1/chat/reward",
    tag = "compatibility",
    request_body(content = RewardRequest, example = json!({
        "messages": [{"role": "user", "content": "Hello"}, {"role": "assistant", "content": "Good day"}]
    })),
    responses((status = 200, body = ListedRewards), Errors),
)]
async fn chat_reward(State(app): State<Arc<App>>, request: Request) -> Result<Response, ApiError> {
    answer(&app, request).await
}

async fn answer(app: &Arc<App>, request: Request) -> Result<Response, ApiError> {
    let texts = score(app, request, UnknownFields::Refuse, read).await?;
    let mut data = Vec::with_capacity(texts.scored.len());
    for (index, scored) in texts.scored.iter().enumerate() {
        data.push(ListedReward { index, object: "reward", score: texts.values(scored) });
    }
    Ok(texts.respond(ListedRewards {
        id: new_id("reward"),
        object: "object",
        created: unix_time(),
        model: texts.model.name,
        data,
        usage: texts.usage(),
    }))
}

fn read(fields: &mut Fields, settings: &ServerSettings) -> Result<CompatRequest<()>, ApiError> {
    let inputs = messages_or_input(fields, settings)?;
    Ok(CompatRequest::new(inputs, ()))
}
