//! `POST /slime/reward`: slime's remote reward model (`--rm-type remote_rm --rm-url`).

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::response::Response;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::inputs::{Input, InputText, turn};
use super::scoring::{CompatRequest, KwargsSchema, TrainerSchema, UnknownFields, score};
use crate::api::app::App;
use crate::api::error::ApiError;
use crate::api::fields::{Fields, wrong_type};
use crate::api::item_path::ItemPath;
use crate::api::messages::{self, Turn};
use crate::api::openapi::Errors;
use crate::api::wire::ScoreMap;
use crate::config::ServerSettings;
use crate::prompt::EncodeOptions;

pub(super) fn routes() -> OpenApiRouter<Arc<App>> {
    OpenApiRouter::new().routes(routes!(reward))
}

/// A prompt and its response. Other fields are ignored.
#[derive(ToSchema)]
#[expect(dead_code, reason = "the schema of what `read` reads")]
struct SlimeRewardRequest {
    prompt: SlimePrompt,
    response: String,
    #[serde(flatten)]
    shared: TrainerSchema,
    #[serde(flatten)]
    variables: KwargsSchema,
}

/// Messages, or a text. A text that spells control tokens is the start of a templated text, which the response
/// continues; any other text is the user's turn.
#[derive(Deserialize, ToSchema)]
#[serde(untagged)]
#[expect(dead_code, reason = "the schema of what `read` reads")]
enum SlimePrompt {
    Text(String),
    Messages(Vec<Turn>),
}

/// The reward itself.
#[derive(Debug, Serialize, ToSchema)]
#[serde(untagged)]
enum SlimeRewardResponse {
    /// From a model with one score, or one that scores steps.
    Number(f64),
    /// By attribute, from any other model.
    Scores(ScoreMap),
}

/// Scores a response. The body that is returned is the reward itself: a number, or, if the model has several scores, an object
/// from which the trainer's `--reward-key` chooses.
#[utoipa::path(
    post,
    path = "/slime/reward",
    tag = "compatibility",
    request_body(
        content = SlimeRewardRequest,
        example = json!({"prompt": "Hello", "response": "Good day", "label": null}),
    ),
    responses((status = 200, body = SlimeRewardResponse), Errors),
)]
async fn reward(State(app): State<Arc<App>>, request: Request) -> Result<Response, ApiError> {
    let texts = score(&app, request, UnknownFields::Ignore, read).await?;
    let [scored] = texts.scored.as_slice() else {
        return Err(ApiError::internal("one text was sent and not one was scored"));
    };
    let reward = if texts.model.names(texts.head).len() <= 1 {
        SlimeRewardResponse::Number(texts.single(scored)?)
    } else {
        SlimeRewardResponse::Scores((&scored.scores).into())
    };
    Ok(texts.respond(reward))
}

fn read(fields: &mut Fields, _: &ServerSettings) -> Result<CompatRequest<()>, ApiError> {
    const PROMPT: &str = "a string or a list of messages";
    let response: String = fields.require("response")?;
    let input = match fields.require_value("prompt", PROMPT)? {
        Value::String(prompt) => {
            Input { text: InputText::Pair(prompt, response), path: ItemPath::pair("prompt", "response") }
        }
        Value::Array(list) => {
            let mut messages = messages::read("prompt", list)?;
            let path = ItemPath::response("prompt", messages.len(), "response");
            messages.push(turn("assistant", response));
            Input { text: InputText::Conversation(messages, EncodeOptions::default()), path }
        }
        other => return Err(wrong_type("prompt", PROMPT, &other)),
    };
    Ok(CompatRequest::new(vec![input], ()))
}
