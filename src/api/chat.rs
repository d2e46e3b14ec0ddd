//! `POST /v1/chat/completions`.

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::response::Response;

use super::chat_request::ChatRequest;
use super::intake::Intake;
use super::{ApiError, App, answer};
use crate::prompt::Message;

/// Scores the last turn of a conversation.
pub(super) async fn completions(State(app): State<Arc<App>>, request: Request) -> Result<Response, ApiError> {
    let mut intake = Intake::read(&app, request).await?;
    let (request, tokens) = intake.prepare(&app, prepare).await?;
    let urgency = intake.urgency(&app, request.wish)?;
    let scored = app.scorer()?.score(tokens, urgency).await?;
    let model = &app.models[0];
    Ok(match request.stream {
        true => answer::streamed(model, &scored, request.include_usage),
        false => answer::whole(model, &scored),
    })
}

fn prepare(app: &App, body: &[u8]) -> Result<(ChatRequest, Vec<u32>), ApiError> {
    let request = ChatRequest::parse(body)?;
    app.check_model(&request.model)?;
    check_last_turn(app, &request.messages)?;
    let tokens = app.scorer()?.encode(&request.messages)?;
    Ok((request, tokens))
}

/// Where the server is set to be strict, refuses a conversation that the assistant does not end.
///
/// # Errors
/// It ends with another's turn.
pub(super) fn check_last_turn(app: &App, messages: &[Message]) -> Result<(), ApiError> {
    match messages.last() {
        Some(last) if app.settings.require_assistant_turn && last.role != "assistant" => {
            let reason = format!(
                "the last turn's role is {}: this server scores the assistant's turn, which must be the last",
                last.role
            );
            Err(ApiError::Invalid(format!("messages[{}].role", messages.len() - 1), reason))
        }
        _ => Ok(()),
    }
}
