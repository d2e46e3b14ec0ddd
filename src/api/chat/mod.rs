//! `POST /v1/chat/completions`: a reward model scores the conversation, a chat model continues it.

mod request;
mod response;

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::response::Response;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use self::request::ChatRequest;
use super::app::App;
use super::error::ApiError;
use super::generation;
use super::item_path::ItemPath;
use super::items::Item;
use super::openapi::Errors;
use super::request::{ReceivedBody, ReceivedRequest};
use super::wire::Completion;
use crate::prompt::EncodeOptions;

pub(super) fn routes() -> OpenApiRouter<Arc<App>> {
    OpenApiRouter::new().routes(routes!(completions))
}

/// Scores the last turn of a conversation; a model that chats continues it instead.
#[utoipa::path(
    post,
    path = "/v1/chat/completions",
    tag = "scores",
    request_body(content = request::ChatSchema, example = json!({
        "model": "demo",
        "messages": [
            {"role": "user", "content": "I am going to Paris, what should I see?"},
            {"role": "assistant", "content": "See the Louvre, and walk along the Seine in the evening."}
        ]
    })),
    responses(
        (status = 200, content((Completion<response::ScoreChoice> = "application/json"), (String = "text/event-stream"))),
        Errors
    ),
)]
pub(super) async fn completions(State(app): State<Arc<App>>, request: Request) -> Result<Response, ApiError> {
    if app.generator().is_ok() {
        return generation::chat_completions(app, request).await;
    }
    let mut reader = ReceivedRequest::read(&app, request).await?;
    let (request, item) = reader.prepare(&app, prepare).await?;
    let scheduling = reader.scheduling(&app, &request.scheduling)?;
    let model = app.model(request.model.as_deref())?;
    let mut scored = item.score(app.scorer()?, scheduling).await?;
    scored.select(model);
    let finish = app.settings.server.finish_reason;
    Ok(if request.stream {
        response::streamed(model.name, &scored, finish, request.usage)
    } else {
        response::whole(model.name, &scored, finish)
    })
}

fn prepare(app: &App, body: &ReceivedBody) -> Result<(ChatRequest, Item), ApiError> {
    let settings = &app.settings.server;
    let request = ChatRequest::parse(&body.bytes, app)?;
    app.model(request.model.as_deref())?;
    let scorer = app.scorer()?;
    body.check_room(app, &request.scheduling)?;
    let path = ItemPath::field("messages");
    let encoding = EncodeOptions { variables: Some(&request.variables), ..request.encoding };
    let length = (encoding, request.length);
    let item = Item::conversation(scorer, &request.messages, path, length, settings)?;
    Ok((request, item))
}
