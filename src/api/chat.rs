//! `POST /v1/chat/completions`.

use std::sync::Arc;
use std::time::Instant;

use axum::extract::{Request, State};
use axum::http::HeaderMap;
use axum::response::Response;

use super::chat_request::{ChatRequest, priority, timeout};
use super::scoring::Urgency;
use super::{ApiError, App, answer, body};
use crate::scheduler::Priority;

/// Bodies larger than this are parsed and tokenized off the threads that serve connections.
const LARGE_BODY: usize = 16 << 10;

/// Scores the last turn of a conversation.
pub(super) async fn completions(State(app): State<Arc<App>>, request: Request) -> Result<Response, ApiError> {
    let arrived = Instant::now();
    let (parts, body) = request.into_parts();
    let body = body::read(&parts.headers, body, app.settings.max_body_bytes).await?;
    let (request, tokens) = prepare(app.clone(), body).await?;
    let urgency = urgency(&app, &parts.headers, &request, arrived)?;
    let scored = app.scorer()?.score(tokens, urgency).await?;
    let model = &app.models[0];
    Ok(match request.stream {
        true => answer::streamed(model, &scored, request.include_usage),
        false => answer::whole(model, &scored),
    })
}

/// Parses and tokenizes a body, off the threads that serve connections where that takes long.
async fn prepare(app: Arc<App>, body: Vec<u8>) -> Result<(ChatRequest, Vec<u32>), ApiError> {
    if body.len() <= LARGE_BODY {
        return prepare_now(&app, &body);
    }
    tokio::task::spawn_blocking(move || prepare_now(&app, &body))
        .await
        .map_err(|error| ApiError::Internal(error.to_string()))?
}

fn prepare_now(app: &App, body: &[u8]) -> Result<(ChatRequest, Vec<u32>), ApiError> {
    let request = ChatRequest::parse(body)?;
    app.check_model(&request.model)?;
    check_last_turn(app, &request)?;
    let tokens = app.scorer()?.encode(&request.messages)?;
    Ok((request, tokens))
}

fn check_last_turn(app: &App, request: &ChatRequest) -> Result<(), ApiError> {
    match request.messages.last() {
        Some(last) if app.settings.require_assistant_turn && last.role != "assistant" => {
            let reason = format!(
                "the last turn's role is {}: this server scores the assistant's turn, which must be the last",
                last.role
            );
            Err(ApiError::Invalid(format!("messages[{}].role", request.messages.len() - 1), reason))
        }
        _ => Ok(()),
    }
}

/// What a request says of its urgency: a field, else a header, else the server's default.
fn urgency(
    app: &App,
    headers: &HeaderMap,
    request: &ChatRequest,
    arrived: Instant,
) -> Result<Urgency, ApiError> {
    let class = match request.priority {
        Some(class) => Some(class),
        None => number(headers, "X-Priority")?.map(|class| priority("X-Priority", class)).transpose()?,
    };
    let time = match request.timeout {
        Some(time) => Some(time),
        None => number(headers, "X-Request-Timeout")?
            .map(|time| timeout("X-Request-Timeout", time))
            .transpose()?,
    };
    Ok(Urgency {
        arrived,
        priority: class.unwrap_or(Priority::default()),
        timeout: time.or(app.settings.timeout.map(|time| time.0)),
    })
}

fn number<T: std::str::FromStr>(headers: &HeaderMap, name: &str) -> Result<Option<T>, ApiError> {
    let Some(value) = headers.get(name) else { return Ok(None) };
    value
        .to_str()
        .ok()
        .and_then(|text| text.trim().parse().ok())
        .map(Some)
        .ok_or_else(|| ApiError::Invalid(name.to_owned(), "must be a number".into()))
}
