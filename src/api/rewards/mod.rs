//! `POST /v1/rewards`: many candidates in one call, each with its own scores or its own error.

mod compare;
mod request;
mod response;
mod rubric;

use std::sync::Arc;

use axum::Json;
use axum::extract::{Request, State};
use axum::response::{IntoResponse, Response};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use self::request::{Candidates, RewardsRequest};
use self::response::Rewards;
use self::rubric::{Criteria, QUESTIONS};
use super::app::App;
use super::error::ApiError;
use super::item_path::ItemPath;
use super::items::{self, Item};
use super::middleware::limits::{check_and_reserve, check_questions, reserve_items};
use super::openapi::Errors;
use super::request::{ReceivedBody, ReceivedRequest};
use crate::prompt::{EncodeOptions, Message, is_cancelled};
use crate::reward::Unscorable;
use crate::serving::{LengthPolicy, Scored};

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
    let mut reader = ReceivedRequest::read(&app, request).await?;
    let (request, candidates) = reader.prepare(&app, prepare).await?;
    let scheduling = reader.scheduling(&app, &request.scheduling)?;
    let (model, scorer) = (app.model(request.model.as_deref())?, app.rubric_scorer()?);
    let mut results = items::score_all(scorer, candidates, scheduling).await;
    if request.compare {
        // The ranking needs every pair.
        let scored = results.into_iter().collect::<Result<Vec<Scored>, ApiError>>()?;
        return Ok(Json(Rewards::compared(model, &scored, request.timing)).into_response());
    }
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
    Ok(Json(answer).into_response())
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

fn prepare(
    app: &App,
    body: &ReceivedBody,
) -> Result<(RewardsRequest, Vec<Result<Item, ApiError>>), ApiError> {
    let (request, candidates) = RewardsRequest::parse(body, app)?;
    if request.compare {
        let items = compare::items(app, &request, &candidates)?;
        return Ok((request, items));
    }
    check_rank_by(app, &request, &candidates)?;
    check_asks(app, &request, &candidates)?;
    let encoding = EncodeOptions { variables: Some(&request.variables), ..request.encoding };
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
                items.push(item(app, &conversation, path, (encoding, request.length), &request.criteria));
                conversation.pop();
            }
        }
        Candidates::Texts(texts) => {
            let scorer = app.scorer()?;
            for (index, text) in texts.into_iter().enumerate() {
                if is_cancelled() {
                    break;
                }
                let path = ItemPath::field(format!("texts[{index}]"));
                items.push(
                    text.and_then(|text| Item::new(path, scorer.encode_templated(&text, request.length))),
                );
            }
        }
        Candidates::Conversations(conversations) => {
            check_prompts(app, &request, &conversations)?;
            for (index, conversation) in conversations.into_iter().enumerate() {
                if is_cancelled() {
                    break;
                }
                let path = ItemPath::field(format!("conversations[{index}]"));
                items.push(conversation.and_then(|(messages, criteria)| {
                    let criteria = criteria.or(&request.criteria);
                    item(app, &messages, path, (encoding, request.length), criteria)
                }));
            }
        }
    }
    Ok((request, items))
}

/// Refuses conversations whose prompts, one for each question, are too many bytes in all.
fn check_prompts(
    app: &App,
    request: &RewardsRequest,
    conversations: &[Result<(Vec<Message>, Criteria), ApiError>],
) -> Result<(), ApiError> {
    // The first prompt is counted already.
    let others = |criteria: &Criteria| criteria.or(&request.criteria).prompts(app).saturating_sub(1);
    let items = |criteria: &Criteria| criteria.or(&request.criteria).items();
    let questions = conversations.iter().flatten().map(|(_, criteria)| items(criteria)).sum();
    check_questions("conversations", (questions, QUESTIONS), &app.settings.server)?;
    reserve_items(conversations.iter().flatten().map(|(_, criteria)| others(criteria)).sum());
    let sizes = conversations.iter().map(|conversation| {
        let Ok((messages, criteria)) = conversation else { return 0 };
        (Message::total_bytes(messages) + request.variables.size()) * others(criteria)
    });
    check_and_reserve("conversations", 0, sizes, &app.settings.server)
}

/// A candidate with the questions about it, encoded.
fn item(
    app: &App,
    messages: &[Message],
    path: ItemPath,
    (encoding, length): (EncodeOptions<'_>, LengthPolicy),
    criteria: &Criteria,
) -> Result<Item, ApiError> {
    let settings = &app.settings.server;
    if let Some(rubric) = &criteria.rubric {
        return Item::rubric(app.rubric_scorer()?, messages, path, (encoding, rubric), settings);
    }
    let scorer = app.scorer().map_err(|_| without_rubric(&path))?;
    match &criteria.principle {
        None => Item::conversation(scorer, messages, path, (encoding, length), settings),
        Some(principle) => {
            let messages = [messages, std::slice::from_ref(principle)].concat();
            Item::conversation(scorer, &messages, path, (encoding, length), settings)
        }
    }
}

/// The error about a conversation that no rubric asks about, beside others, to a model without scores of its own.
fn without_rubric(path: &ItemPath) -> ApiError {
    let reason = "is missing: the model served here generates text and has no scores; send {\"messages\": ..., \
                  \"rubric\": ...} for this conversation, or one `rubric` for the whole call";
    ApiError::invalid(format!("{}.rubric", path.start()), reason)
}

/// Refuses a call without a rubric to a model without scores of its own, and questions that no candidate can be asked.
fn check_asks(app: &App, request: &RewardsRequest, candidates: &Candidates) -> Result<(), ApiError> {
    let asks = if request.criteria.rubric.is_none() && candidates.bring_no_rubric() {
        app.scorer()?.head().judge().is_some()
    } else {
        true
    };
    if asks && request.encoding.continue_final_message {
        return Err(ApiError::unsupported("continue_final_message", Unscorable::Continued.to_string()));
    }
    Ok(())
}

/// Refuses a `rank_by` that is not a score of the rubric or the model, or a summary of the steps that it scores.
fn check_rank_by(app: &App, request: &RewardsRequest, candidates: &Candidates) -> Result<(), ApiError> {
    let model = app.model(request.model.as_deref())?;
    let Some(name) = &request.rank_by else { return Ok(()) };
    let rubric = candidates.shared_rubric(&request.criteria).map_err(|index| {
        let reason = format!(
            "needs one score that all candidates have, and another rubric scores `conversations[{index}]`; send one \
             `rubric` for the whole call, or leave it out"
        );
        ApiError::invalid("rank_by", reason)
    })?;
    let names = match rubric {
        Some(head) => head.ranking_names(),
        None => model.ranking_names(app.scorer()?.head()),
    };
    if names.contains(name) {
        return Ok(());
    }
    let reason = format!("is not a score of this model: use one of {}", names.join(", "));
    Err(ApiError::invalid("rank_by", reason))
}
