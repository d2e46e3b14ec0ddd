//! `POST /v1/rewards`: many candidates in one call, each with its own scores or its own error.

mod answer;
mod request;

use std::sync::Arc;

use axum::Json;
use axum::extract::{Request, State};
use axum::response::{IntoResponse, Response};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use self::answer::Rewards;
use self::request::{Candidates, RewardsRequest};
use super::app::App;
use super::error::ApiError;
use super::item_path::ItemPath;
use super::items::{self, Item};
use super::openapi::Errors;
use super::request::RequestReader;
use crate::prompt::{EncodeOptions, Message, is_cancelled};
use crate::serving::Scored;

/// Header with the engine's profile id, by which a client notices that the server came back with another engine.
const ENGINE_HEADER: &str = "x-assay-engine";

pub(super) fn routes() -> OpenApiRouter<Arc<App>> {
    OpenApiRouter::new().routes(routes!(rewards))
}

/// Scores every candidate and ranks them.
#[utoipa::path(
    post,
    path = "/v1/rewards",
    tag = "scores",
    request_body(content = request::RewardsSchema, example = json!({
        "model": "demo",
        "messages": [{"role": "user", "content": "I am going to Paris, what should I see?"}],
        "responses": ["See the Louvre.", "Stay at home."],
        "timing": true
    })),
    responses((status = 200, body = Rewards), Errors),
)]
pub(super) async fn rewards(State(app): State<Arc<App>>, request: Request) -> Result<Response, ApiError> {
    let mut reader = RequestReader::read(&app, request).await?;
    let (request, candidates) = reader.prepare(&app, prepare).await?;
    let scheduling = reader.scheduling(&app, request.scheduling)?;
    let (model, scorer) = (app.model(request.model.as_deref())?, app.scorer()?);
    let mut results = items::score_all(scorer, candidates, scheduling).await;
    if let Some(error) = failure_of_all(&mut results) {
        return Err(error);
    }
    for result in &mut results {
        match result {
            Ok(scored) => scored.select(model),
            Err(error) => log_failure(&app, error),
        }
    }
    let answer = Rewards::new(model, scorer.head(), &request, &results);
    Ok(([(ENGINE_HEADER, app.manifest.profile.id.clone())], Json(answer)).into_response())
}

/// The first error if no candidate was scored and the server is to blame for all of them. The call then fails
/// with that error's status, so that clients try again as they would on any other route.
fn failure_of_all(results: &mut Vec<Result<Scored, ApiError>>) -> Option<ApiError> {
    let servers_fault =
        |result: &Result<Scored, ApiError>| result.as_ref().is_err_and(ApiError::is_servers_fault);
    if results.iter().all(servers_fault) { results.drain(..).next()?.err() } else { None }
}

fn log_failure(app: &App, error: &ApiError) {
    let code = error.classify().code;
    app.metrics.failed(code);
    tracing::debug!(code, "one of several candidates was not scored");
}

fn prepare(app: &App, body: &[u8]) -> Result<(RewardsRequest, Vec<Result<Item, ApiError>>), ApiError> {
    let settings = &app.settings.server;
    let (request, candidates) = RewardsRequest::parse(body, app)?;
    check_rank_by(app, &request)?;
    let scorer = app.scorer()?;
    let encoding = EncodeOptions { variables: Some(&request.variables), ..request.encoding };
    let how = (encoding, request.length);
    let mut items = Vec::new();
    match candidates {
        Candidates::Responses { mut conversation, responses } => {
            let prompt = conversation.len();
            for (index, content) in responses.into_iter().enumerate() {
                if is_cancelled() {
                    break;
                }
                let path = ItemPath::response("messages", prompt, format!("responses[{index}]"));
                conversation.push(Message::new("assistant", content));
                items.push(Item::conversation(scorer, &conversation, path, how, settings));
                conversation.pop();
            }
        }
        Candidates::Conversations(conversations) => {
            for (index, conversation) in conversations.into_iter().enumerate() {
                if is_cancelled() {
                    break;
                }
                let path = ItemPath::field(format!("conversations[{index}]"));
                items.push(
                    conversation.and_then(|conversation| {
                        Item::conversation(scorer, &conversation, path, how, settings)
                    }),
                );
            }
        }
    }
    Ok((request, items))
}

/// Refuses a `rank_by` that is not a score of the model, or a summary of the steps that it scores.
fn check_rank_by(app: &App, request: &RewardsRequest) -> Result<(), ApiError> {
    let names = app.model(request.model.as_deref())?.ranking_names(app.scorer()?.head());
    let Some(name) = &request.rank_by else { return Ok(()) };
    if names.contains(name) {
        return Ok(());
    }
    let reason = format!("is not a score of this model: use one of {}", names.join(", "));
    Err(ApiError::invalid("rank_by", reason))
}
