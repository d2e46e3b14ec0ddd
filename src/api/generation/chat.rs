//! `POST /v1/chat/completions` of a model that chats.

use std::sync::Arc;

use axum::Json;
use axum::extract::Request;
use axum::response::{IntoResponse, Response};
use futures_util::future::try_join_all;
use serde_json::Value;

use super::choices::{ChatChoice, ChatLogprobs, prompt_logprobs, usage};
use super::options::{self, Options};
use super::stream::{self, ChunkWriter, Heading};
use crate::api::app::App;
use crate::api::error::ApiError;
use crate::api::fields::Fields;
use crate::api::item_path::ItemPath;
use crate::api::messages;
use crate::api::request::ReceivedRequest;
use crate::api::template_variables::take_variables;
use crate::api::wire::{Completion, Message, new_id, unix_time};
use crate::manifest::Task;
use crate::prompt::{EncodeOptions, Fit, Truncation};
use crate::serving::{Delta, Generator};

/// A request whose conversation is encoded.
struct ChatCall {
    model: String,
    prompt: Vec<u32>,
    options: Options,
    /// The text that answers start with: the assistant's turn that they continue, if the request asks for it.
    echo: String,
    /// Log-probabilities of the answer, with those of this many likeliest tokens.
    logprobs: Option<usize>,
    /// The same of the prompt.
    prompt_logprobs: Option<usize>,
    /// Whether the token ids of the prompt and of answers are wanted.
    token_ids: bool,
}

/// Answers a conversation.
pub(in crate::api) async fn completions(app: Arc<App>, request: Request) -> Result<Response, ApiError> {
    let mut reader = ReceivedRequest::read(&app, request).await?;
    let ChatCall { model, prompt, options, echo, logprobs, prompt_logprobs: prompt_top, token_ids } =
        reader.prepare(&app, prepare).await?;
    let scheduling = reader.scheduling(&app, &options.scheduling)?;
    let generator = app.generator()?;
    let prompt_tokens = prompt.len();
    let prompt_token_ids = token_ids.then(|| prompt.clone());
    let started = generator.start(prompt, &options.generate, scheduling);
    let mut choices =
        started.map_err(|error| options::refused(error, &messages_path(), "prompt_logprobs"))?;
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
        };
        let writer = ChatChunks { started: vec![false; choices.len()], echo, logprobs, token_ids };
        return stream::respond(app, heading, choices, writer).await;
    }
    let wholes = try_join_all(choices.iter_mut().map(|choice| choice.whole()));
    let wholes = wholes.await.map_err(ApiError::without_item)?;
    let endings: Vec<_> = wholes.iter().filter_map(|whole| whole.ending).collect();
    generator.answered(prompt_tokens, &endings, scheduling.arrived);
    let prompt_logprobs = match (prompt_top, wholes.first()) {
        (Some(top), Some(whole)) => {
            serde_json::to_value(prompt_logprobs(&whole.prompt, top, generator.vocabulary()))
        }
        _ => Ok(Value::Null),
    };
    let mut choices = Vec::with_capacity(wholes.len());
    for (index, whole) in wholes.into_iter().enumerate() {
        choices.push(ChatChoice {
            index,
            logprobs: logprobs.map(|top| ChatLogprobs::new(&whole.tokens, top, generator.vocabulary())),
            message: Some(Message::assistant(echo.clone() + &whole.text)),
            delta: None,
            finish_reason: whole.ending.as_ref().map(|ending| ending.finish_reason),
            token_ids: token_ids.then(|| whole.token_ids()),
        });
    }
    let answer = Completion {
        id: &id,
        object: "chat.completion",
        created: unix_time(),
        model: &model,
        choices,
        usage: Some(usage(prompt_tokens, &endings).into()),
        truncated: None,
        score_options: None,
        prompt_logprobs: Some(prompt_logprobs.map_err(ApiError::internal)?),
        prompt_token_ids,
    };
    Ok(Json(answer).into_response())
}

struct ChatChunks {
    /// Whether the first chunk of each choice was written.
    started: Vec<bool>,
    /// What each choice starts with.
    echo: String,
    logprobs: Option<usize>,
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
            if !self.echo.is_empty() {
                chunks.push(ChatChoice::chunk(index, Message::part(self.echo.clone())));
            }
        }
        let logprobs = self.logprobs.filter(|_| !delta.tokens.is_empty());
        let logprobs = logprobs.map(|top| ChatLogprobs::new(&delta.tokens, top, generator.vocabulary()));
        let token_ids = Some(delta.token_ids()).filter(|ids| self.token_ids && !ids.is_empty());
        let finish_reason = delta.ending.map(|ending| ending.finish_reason);
        if !delta.text.is_empty() || logprobs.is_some() || token_ids.is_some() || finish_reason.is_some() {
            let part = if delta.text.is_empty() { Message::default() } else { Message::part(delta.text) };
            chunks.push(ChatChoice { logprobs, finish_reason, token_ids, ..ChatChoice::chunk(index, part) });
        }
        chunks
    }
}

fn prepare(app: &App, body: &[u8]) -> Result<ChatCall, ApiError> {
    let generator = app.generator()?;
    if generator.task() != Task::Chat {
        return Err(ApiError::WrongTask(
            "the model served here completes texts and has no chat template; use POST /v1/completions",
        ));
    }
    let mut fields = Fields::parse(body)?;
    let model: Option<String> = fields.take("model")?;
    let model = app.model(model.as_deref())?.name.to_owned();
    let messages = messages::read("messages", fields.require("messages")?)?;
    let mut options = Options::take(&mut fields, generator)?;
    let max_tokens = options::max_tokens(&mut fields, "max_tokens")?;
    options.generate.max_tokens = options::max_tokens(&mut fields, "max_completion_tokens")?.or(max_tokens);
    options::check_min_tokens(&options.generate)?;
    let logprobs = logprobs(&mut fields)?;
    let prompt_logprobs = options::prompt_logprobs(&mut fields, options.stream)?;
    options.generate.sampling.logprobs = logprobs.max(prompt_logprobs);
    options.generate.sampling.prompt_logprobs = prompt_logprobs.is_some();
    let token_ids = fields.take("return_token_ids")?.unwrap_or(false);
    let fit = options::prompt_fit(&mut fields, app, options.generate.max_tokens.unwrap_or(1))?;
    let variables = take_variables(&mut fields)?;
    let encoding = messages::take_encode_options(&mut fields, true)?;
    let echo = echo(&mut fields, &messages)?;
    fields.take_neutral()?;
    fields.end("this server does not do that; leave it out")?;
    // Nothing is cut unless the request says so.
    let whole = Fit { limit: generator.limits().longest(), truncation: Truncation::Error };
    let encoding = EncodeOptions { variables: Some(&variables), ..encoding };
    let encoded = generator.encoder().encode_within(&messages, encoding, fit.unwrap_or(whole));
    let prompt = encoded.map_err(|error| ApiError::on_item(error, &messages_path()))?.tokens;
    Ok(ChatCall { model, prompt, options, echo, logprobs, prompt_logprobs, token_ids })
}

/// Takes `echo`: whether an answer starts with the last message, if that is the assistant's.
fn echo(fields: &mut Fields, messages: &[crate::prompt::Message]) -> Result<String, ApiError> {
    let wanted = fields.take("echo")?.unwrap_or(false);
    let last = messages.last().filter(|message| wanted && message.role == "assistant");
    Ok(last.map(|message| message.content.clone()).unwrap_or_default())
}

/// Takes `logprobs` and `top_logprobs`: the number of likeliest tokens to report in addition to the chosen one.
fn logprobs(fields: &mut Fields) -> Result<Option<usize>, ApiError> {
    let logprobs = fields.take("logprobs")?.unwrap_or(false);
    let top = options::top_logprobs(fields, "top_logprobs")?;
    if top.is_some_and(|top| top > 0) && !logprobs {
        let reason = "is for log-probabilities: send it with `logprobs` true, or leave it out";
        return Err(ApiError::invalid("top_logprobs", reason));
    }
    Ok(logprobs.then_some(top.unwrap_or(0)))
}

fn messages_path() -> ItemPath {
    ItemPath::field("messages")
}
