//! `POST /verify`: a resources server of NeMo Gym, whose reward is the model's score.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::Json;
use axum::extract::{Request, State};
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::inputs::{Input, InputText, turn};
use super::scoring::{CompatRequest, KwargsSchema, TrainerSchema, UnknownFields, score};
use crate::api::app::App;
use crate::api::error::ApiError;
use crate::api::fields::{Fields, wrong_type};
use crate::api::messages;
use crate::api::openapi::Errors;
use crate::api::wire::ScoreMap;
use crate::config::ServerSettings;
use crate::prompt::{EncodeOptions, Message};

pub(super) fn routes() -> OpenApiRouter<Arc<App>> {
    OpenApiRouter::new().routes(routes!(verify)).routes(routes!(seed_session))
}

/// A rollout in the format of OpenAI's Responses API. All fields are sent back as they are.
#[derive(ToSchema)]
#[expect(dead_code, reason = "the schema of what `read` reads")]
struct VerifyRequest {
    responses_create_params: CreateParams,
    response: RolloutResponse,
    #[serde(flatten)]
    shared: TrainerSchema,
    #[serde(flatten)]
    variables: KwargsSchema,
}

#[derive(Deserialize, ToSchema)]
#[expect(dead_code, reason = "the schema of what `read` reads")]
struct CreateParams {
    input: GymInput,
    /// The system's turn.
    instructions: Option<String>,
}

/// A text, or messages.
#[derive(Deserialize, ToSchema)]
#[serde(untagged)]
#[expect(dead_code, reason = "the schema of what `prompt` reads")]
enum GymInput {
    Text(String),
    Messages(Vec<BTreeMap<String, Value>>),
}

#[derive(Deserialize, ToSchema)]
#[expect(dead_code, reason = "the schema of what `read` reads")]
struct RolloutResponse {
    /// Messages of the assistant. Items of the type `reasoning` are left out.
    #[schema(min_items = 1)]
    output: Vec<BTreeMap<String, Value>>,
}

/// The request with the reward.
#[derive(Debug, Serialize, ToSchema)]
struct Verified {
    #[serde(flatten)]
    #[schema(value_type = Object)]
    request: Map<String, Value>,
    /// The one score that ranks responses.
    reward: f64,
    /// By attribute, if the model has several.
    #[serde(skip_serializing_if = "Option::is_none")]
    reward_components: Option<ScoreMap>,
}

/// Scores the rollout of an agent, and sends it back with its reward.
#[utoipa::path(
    post,
    path = "/verify",
    tag = "compatibility",
    request_body(content = VerifyRequest, example = json!({
        "responses_create_params": {"input": [{"role": "user", "content": "Hello"}]},
        "response": {"output": [
            {"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": "Good day"}]}
        ]}
    })),
    responses((status = 200, body = Verified), Errors),
)]
async fn verify(State(app): State<Arc<App>>, request: Request) -> Result<Response, ApiError> {
    let mut texts = score(&app, request, UnknownFields::Ignore, read).await?;
    let request = std::mem::take(&mut texts.shape);
    let [scored] = texts.scored.as_slice() else {
        return Err(ApiError::internal("one rollout was sent and not one was scored"));
    };
    let several = texts.model.names(texts.head).len() > 1;
    let reward_components = several.then(|| (&scored.scores).into());
    Ok(texts.respond(Verified { request, reward: texts.single(scored)?, reward_components }))
}

/// Opens a session. The server stores nothing about it.
#[utoipa::path(
    post,
    path = "/seed_session",
    tag = "compatibility",
    request_body(content = Value, example = json!({})),
    responses((status = 200, body = Value), Errors),
)]
async fn seed_session() -> Response {
    Json(json!({})).into_response()
}

fn read(fields: &mut Fields, _: &ServerSettings) -> Result<CompatRequest<Map<String, Value>>, ApiError> {
    let mut request = fields.rest().clone();
    for name in ["reward", "reward_components"] {
        request.remove(name);
    }
    let params: Value = fields.require_value("responses_create_params", "an object")?;
    let response: Value = fields.require_value("response", "an object")?;
    let mut messages = prompt(params)?;
    output(response, &mut messages)?;
    Ok(CompatRequest::new(
        vec![Input::at("response.output", InputText::Conversation(messages, EncodeOptions::default()))],
        request,
    ))
}

/// The turns before the agent's.
fn prompt(params: Value) -> Result<Vec<Message>, ApiError> {
    const EXPECTED: &str = "a text or a list of messages";
    let path = "responses_create_params";
    let mut params = Fields::from_value(path.into(), params)?;
    let instructions = params.take::<String>("instructions")?;
    let mut messages: Vec<Message> = instructions.map(|text| turn("system", text)).into_iter().collect();
    match params.require_value("input", EXPECTED)? {
        Value::String(text) => messages.push(turn("user", text)),
        Value::Array(list) => {
            for (index, item) in list.into_iter().enumerate() {
                messages.extend(message(format!("{path}.input[{index}]"), item, "user")?);
            }
        }
        other => return Err(wrong_type(format!("{path}.input"), EXPECTED, &other)),
    }
    Ok(messages)
}

/// Adds the agent's turns.
fn output(response: Value, messages: &mut Vec<Message>) -> Result<(), ApiError> {
    let mut response = Fields::from_value("response".into(), response)?;
    let list: Vec<Value> = response.require("output")?;
    let before = messages.len();
    for (index, item) in list.into_iter().enumerate() {
        messages.extend(message(format!("response.output[{index}]"), item, "assistant")?);
    }
    if messages.len() == before {
        let reason = "has no message: the agent said nothing that could be scored";
        return Err(ApiError::invalid("response.output", reason));
    }
    Ok(())
}

/// The turn that an item describes; its role is `role` unless the item has one. `None` for the agent's reasoning.
fn message(path: String, item: Value, role: &str) -> Result<Option<Message>, ApiError> {
    let mut fields = Fields::from_value(path, item)?;
    match fields.take::<String>("type")?.as_deref() {
        None | Some("message") => {}
        Some("reasoning") => return Ok(None),
        Some(_) => {
            let reason = "only messages can be scored: render calls of tools into a text, and send that";
            return Err(ApiError::unsupported(fields.path("type"), reason));
        }
    }
    let role = fields.take::<String>("role")?.unwrap_or_else(|| role.to_owned());
    let content = messages::content(&mut fields, text_part)?;
    Ok(Some(turn(&role, content)))
}

fn text_part(path: String, part: Value) -> Result<String, ApiError> {
    let mut fields = Fields::from_value(path, part)?;
    match fields.require::<String>("type")?.as_str() {
        "input_text" | "output_text" | "text" => fields.require("text"),
        _ => Err(ApiError::unsupported(fields.path("type"), "only parts of text can be scored")),
    }
}
