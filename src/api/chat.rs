//! `POST /v1/chat/completions` of a reward model, and the way to that of others.

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::response::Response;

use super::chat_request::ChatRequest;
use super::openapi::{Errors, requests};
use super::request::RequestReader;
use super::{ApiError, App, answer, generation};
use crate::prompt::{Message, Prompt};

/// Scores the last turn of a conversation; answers it if the model served chats.
#[utoipa::path(post, path = "/v1/chat/completions", tag = "scores", request_body = requests::ChatRequest, responses((status = 200, content((answer::Completion = "application/json"), (String = "text/event-stream"))), Errors))]
pub(super) async fn completions(State(app): State<Arc<App>>, request: Request) -> Result<Response, ApiError> {
    if app.generator().is_ok() {
        return generation::chat_completions(app, request).await;
    }
    let mut reader = RequestReader::read(&app, request).await?;
    let (request, prompt) = reader.prepare(&app, prepare).await?;
    let scheduling = reader.scheduling(&app, request.scheduling)?;
    let model = app.model(Some(&request.model))?;
    let scored = app.scorer()?.score(prompt, scheduling).await?.select(model);
    Ok(match request.stream {
        true => answer::streamed(model.name, &scored, request.include_usage),
        false => answer::whole(model.name, &scored),
    })
}

fn prepare(app: &App, body: &[u8]) -> Result<(ChatRequest, Prompt), ApiError> {
    let request = ChatRequest::parse(body, &app.settings.server)?;
    app.model(Some(&request.model))?;
    check_last_turn(app, &request.messages)?;
    let prompt = app.scorer()?.encode(&request.messages, request.length)?;
    Ok((request, prompt))
}

/// Where the server is set to be strict, refuses a conversation that the assistant does not end.
///
/// # Errors
/// It ends with another's turn.
pub(super) fn check_last_turn(app: &App, messages: &[Message]) -> Result<(), ApiError> {
    match messages.last() {
        Some(last) if app.settings.server.require_assistant_turn && last.role != "assistant" => {
            let reason = format!(
                "the last turn's role is {}: this server scores the assistant's turn, which must be the last",
                last.role
            );
            Err(ApiError::Invalid(format!("messages[{}].role", messages.len() - 1), reason))
        }
        _ => Ok(()),
    }
}
