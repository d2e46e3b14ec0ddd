//! `POST /v1/chat/completions` of a model that chats, and vLLM's route for several conversations in one call.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Request, State};
use axum::response::{IntoResponse, Response};
use futures_util::future::try_join_all;
use serde_json::Value;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::chat_request::{BatchSchema, ChatCall, Conversations, prepare};
use super::choices::{ChatChoice, usage};
use super::logprobs::{ChatLogprobs, LogprobStyle, prompt_logprobs};
use super::options;
use super::stream::{self, ChunkWriter, Heading};
use crate::api::app::App;
use crate::api::error::ApiError;
use crate::api::openapi::Errors;
use crate::api::request::ReceivedRequest;
use crate::api::wire::{Completion, Message, new_id, unix_time};
use crate::serving::{Delta, Generator};

pub(super) fn routes() -> OpenApiRouter<Arc<App>> {
    OpenApiRouter::new().routes(routes!(batch))
}

/// Continues several conversations, each by a choice of its own.
#[utoipa::path(
    post,
    path = "/v1/chat/completions/batch",
    tag = "text",
    request_body(content = BatchSchema, example = json!({
        "model": "demo",
        "messages": [[{"role": "user", "content": "Is Paris a city?"}], [{"role": "user", "content": "Is Rome?"}]],
        "max_tokens": 8
    })),
    responses((status = 200, body = Completion<ChatChoice>), Errors),
)]
async fn batch(State(app): State<Arc<App>>, request: Request) -> Result<Response, ApiError> {
    respond(app, request, Conversations::Batch).await
}

/// Continues a conversation.
pub(in crate::api) async fn completions(app: Arc<App>, request: Request) -> Result<Response, ApiError> {
    respond(app, request, Conversations::Single).await
}

async fn respond(app: Arc<App>, request: Request, given: Conversations) -> Result<Response, ApiError> {
    let mut reader = ReceivedRequest::read(&app, request).await?;
    let call = reader.prepare(&app, move |app, body| prepare(app, body, given)).await?;
    let ChatCall { model, conversations, options, logprobs, token_ids } = call;
    let scheduling = reader.scheduling(&app, &options.scheduling)?;
    let generator = app.generator()?;
    let (mut prompt_tokens, mut choices, mut echoes) = (0, Vec::new(), Vec::new());
    let mut prompt_token_ids = None;
    for conversation in conversations {
        let prompt = conversation.prompt;
        prompt_tokens += prompt.len();
        if token_ids && given == Conversations::Single {
            prompt_token_ids = Some(prompt.clone());
        }
        let started = generator.start(prompt, &options.generate, scheduling);
        choices
            .extend(started.map_err(|error| options::refused(error, &conversation.path, "prompt_logprobs"))?);
        echoes.resize(choices.len(), conversation.echo);
    }
    let id = new_id("chatcmpl");
    if options.stream {
        let heading = Heading {
            id,
            object: "chat.completion.chunk",
            model,
            prompt_tokens,
            usage: options.usage,
            arrived: scheduling.arrived,
            prompt_token_ids,
            n: options.generate.n,
        };
        let writer =
            ChatChunks { started: vec![false; choices.len()], echoes, logprobs: logprobs.choice, token_ids };
        return stream::respond(app, heading, choices, writer).await;
    }
    let wholes = try_join_all(choices.iter_mut().map(|choice| choice.whole()));
    let wholes = wholes.await.map_err(ApiError::without_item)?;
    let endings: Vec<_> = wholes.iter().filter_map(|whole| whole.ending.clone()).collect();
    generator.answered(prompt_tokens, &endings, scheduling.arrived);
    let prompt_logprobs = match (logprobs.prompt, wholes.first()) {
        (Some(top), Some(whole)) => {
            serde_json::to_value(prompt_logprobs(&whole.prompt, top, generator.vocabulary()))
        }
        _ => Ok(Value::Null),
    };
    let mut choices = Vec::with_capacity(wholes.len());
    for (index, (whole, echo)) in wholes.into_iter().zip(echoes).enumerate() {
        let style = logprobs.choice;
        choices.push(ChatChoice {
            index,
            logprobs: style.map(|style| ChatLogprobs::new(&whole.tokens, style, generator.vocabulary())),
            message: Some(Message::assistant(echo + &whole.text)),
            token_ids: token_ids.then(|| whole.token_ids()),
            end: whole.ending.into(),
            ..ChatChoice::default()
        });
    }
    let response = Completion {
        id: &id,
        object: "chat.completion",
        created: unix_time(),
        model: &model,
        choices,
        usage: Some(usage(prompt_tokens, &endings, options.generate.n).into()),
        truncated: None,
        score_options: None,
        prompt_logprobs: Some(prompt_logprobs.map_err(ApiError::internal)?),
        prompt_token_ids,
    };
    Ok(Json(response).into_response())
}

struct ChatChunks {
    /// Whether the first chunk of each choice was written.
    started: Vec<bool>,
    /// What each choice starts with.
    echoes: Vec<String>,
    logprobs: Option<LogprobStyle>,
    /// Whether the token ids of each piece are wanted.
    token_ids: bool,
}

impl ChunkWriter for ChatChunks {
    type Choice = ChatChoice;

    /// The role before the first piece, then its text and its end, if it has them.
    fn chunks(&mut self, generator: &Generator, index: usize, delta: Delta) -> Vec<ChatChoice> {
        let mut chunks = Vec::new();
        if !std::mem::replace(&mut self.started[index], true) {
            chunks.push(ChatChoice::chunk(index, Message::assistant(String::new())));
            let echo = std::mem::take(&mut self.echoes[index]);
            if !echo.is_empty() {
                chunks.push(ChatChoice::chunk(index, Message::part(echo)));
            }
        }
        let logprobs = self.logprobs.filter(|_| !delta.tokens.is_empty());
        let logprobs = logprobs.map(|style| ChatLogprobs::new(&delta.tokens, style, generator.vocabulary()));
        let token_ids = Some(delta.token_ids()).filter(|ids| self.token_ids && !ids.is_empty());
        let ended = delta.ending.is_some();
        if !delta.text.is_empty() || logprobs.is_some() || token_ids.is_some() || ended {
            let part = if delta.text.is_empty() { Message::default() } else { Message::part(delta.text) };
            let end = delta.ending.into();
            chunks.push(ChatChoice { logprobs, end, token_ids, ..ChatChoice::chunk(index, part) });
        }
        chunks
    }
}
