//! `POST /v1/rewards`: many candidates in one call, each with its own scores or its own error.

mod answer;
mod request;

use std::sync::Arc;

use axum::Json;
use axum::extract::{Request, State};
use axum::response::{IntoResponse, Response};

use self::answer::Rewards;
use self::request::{Candidates, RewardsRequest};
use super::chat::check_last_turn;
use super::openapi::{Errors, requests};
use super::request::RequestReader;
use super::{ApiError, App};
use crate::prompt::{Message, Prompt};
use crate::serving::Scored;

/// Token ids of a candidate, or why there are none.
type Encoded = Result<Prompt, ApiError>;

/// Scores every candidate.
#[utoipa::path(post, path = "/v1/rewards", tag = "scores", request_body = requests::RewardsRequest, responses((status = 200, body = Rewards), Errors))]
pub(super) async fn rewards(State(app): State<Arc<App>>, request: Request) -> Result<Response, ApiError> {
    let mut reader = RequestReader::read(&app, request).await?;
    let (request, candidates) = reader.prepare(&app, prepare).await?;
    let scheduling = reader.scheduling(&app, request.scheduling)?;
    let scorer = app.scorer()?;
    let model = app.model(request.model.as_deref())?;
    let results = scorer.score_all(candidates, scheduling).await.into_iter();
    let mut results: Vec<_> = results.map(|result| result.map(|scored| scored.select(model))).collect();
    if let Some(error) = failure_of_all(&mut results) {
        return Err(error);
    }
    for error in results.iter().filter_map(|result| result.as_ref().err()) {
        app.metrics.failed(error.class().code);
        tracing::debug!(code = error.class().code, "one of several candidates was not scored");
    }
    let answer = Rewards::new(model, scorer.head(), &request, &results);
    Ok(Json(answer).into_response())
}

/// The server's own failure where no candidate was scored: then the answer is that failure, with
/// its status, so that clients try again as they would with any other route.
fn failure_of_all(results: &mut Vec<Result<Scored, ApiError>>) -> Option<ApiError> {
    let at_fault = |result: &Result<Scored, ApiError>| match result {
        Ok(_) => false,
        Err(error) => error.is_servers(),
    };
    if results.iter().all(at_fault) { results.drain(..).next()?.err() } else { None }
}

fn prepare(app: &App, body: &[u8]) -> Result<(RewardsRequest, Vec<Encoded>), ApiError> {
    let (request, candidates) = RewardsRequest::parse(body, &app.settings.server)?;
    let scorer = app.scorer()?;
    let names = app.model(request.model.as_deref())?.names(scorer.head());
    if let Some(name) = request.rank_by.as_deref()
        && !names.contains(&name)
    {
        let reason = match names.as_slice() {
            [] => {
                "cannot be honoured: this model scores steps; leave it out to rank by the lowest".to_owned()
            }
            _ => format!("is none of this model's attributes: {}", names.join(", ")),
        };
        return Err(ApiError::Invalid("rank_by".into(), reason));
    }
    let encode = |messages: &[Message]| {
        check_last_turn(app, messages)?;
        Ok(scorer.encode(messages, request.length)?)
    };
    let encoded = match candidates {
        Candidates::Responses { mut conversation, responses } => responses
            .into_iter()
            .map(|response| {
                conversation.push(Message { role: "assistant".into(), content: response });
                let encoded = encode(&conversation);
                conversation.pop();
                encoded
            })
            .collect(),
        Candidates::Conversations(conversations) => {
            conversations.into_iter().map(|conversation| encode(&conversation?)).collect()
        }
    };
    Ok((request, encoded))
}
