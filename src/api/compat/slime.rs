//! `POST /slime/reward`: slime's remote reward model (`--rm-type remote_rm --rm-url`).

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::response::Response;
use serde::Serialize;
use serde_json::Value;
use utoipa::ToSchema;

use super::text::Text;
use super::{Call, Unknown, score};
use crate::api::by_attribute::ByAttribute;
use crate::api::fields::{Fields, wrong_type};
use crate::api::openapi::{Errors, requests};
use crate::api::{ApiError, App, messages};
use crate::config::ServerSettings;
use crate::prompt::Message;

/// The reward itself.
#[derive(Debug, Serialize, ToSchema)]
#[serde(untagged)]
#[schema(as = SlimeRewardAnswer)]
enum Reward {
    /// Of a model with one score, or one that scores steps.
    Number(f64),
    /// By attribute.
    Scores(ByAttribute),
}

/// Scores a response. The answer is the reward itself: a number, or, of a model with several scores, an
/// object that the trainer's `--reward-key` chooses from.
#[utoipa::path(post, path = "/slime/reward", tag = "trainers and compat", request_body = requests::SlimeRewardRequest, responses((status = 200, body = Reward), Errors))]
pub(super) async fn reward(State(app): State<Arc<App>>, request: Request) -> Result<Response, ApiError> {
    let answer = score(&app, request, Unknown::Ignored, read).await?;
    let [scored] = answer.scored.as_slice() else {
        return Err(ApiError::Internal("one text was sent and not one was scored".into()));
    };
    let reward = match answer.model.names(answer.head).len() {
        0 | 1 => Reward::Number(answer.single(scored)?),
        _ => Reward::Scores((&scored.scores).into()),
    };
    Ok(answer.respond(reward))
}

fn read(fields: &mut Fields, _: &ServerSettings) -> Result<Call<()>, ApiError> {
    let response: String = fields.require("response")?;
    let text = match fields.require("prompt")? {
        Value::String(prompt) => Text::Pair(prompt, response),
        Value::Array(list) => {
            let mut turns = messages::read("prompt", list)?;
            turns.push(Message { role: "assistant".into(), content: response });
            Text::Conversation(turns)
        }
        other => return Err(wrong_type("prompt".into(), "a string or a list of messages", &other)),
    };
    Ok(Call { texts: vec![text], shape: (), activation: None, length: None })
}
