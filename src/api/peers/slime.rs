//! `POST /slime/reward`: slime's remote reward model (`--rm-type remote_rm --rm-url`).

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::response::Response;
use serde_json::{Map, Value};

use super::text::Text;
use super::{Call, Unknown, score};
use crate::api::fields::{Fields, wrong_type};
use crate::api::{ApiError, App, messages};
use crate::config::Settings;
use crate::prompt::Message;

/// Scores a response. The answer is the reward itself: a number, or, of a model with several scores, an
/// object that the trainer's `--reward-key` chooses from.
pub(super) async fn reward(State(app): State<Arc<App>>, request: Request) -> Result<Response, ApiError> {
    let answer = score(&app, request, Unknown::Ignored, read).await?;
    match answer.scored.as_slice() {
        [scored] if answer.model.names(answer.head).len() > 1 => {
            let pairs = scored.scores.values().map(|(name, value)| (name.to_owned(), value.into()));
            Ok(answer.respond(pairs.collect::<Map<String, Value>>()))
        }
        _ => Ok(answer.respond(answer.singles()?.first())),
    }
}

fn read(fields: &mut Fields, _: &Settings) -> Result<Call<()>, ApiError> {
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
    Ok(Call { texts: vec![text], shape: (), activation: None, cut: None })
}
