//! `POST /v1/chat/completions` of a model that chats.

use std::sync::Arc;

use axum::Json;
use axum::extract::Request;
use axum::response::{IntoResponse, Response};
use futures_util::future::try_join_all;
use uuid::Uuid;

use super::options::{self, Options};
use super::stream::{self, Heading};
use super::wire::{Answer, ChatChoice, ChatLogprobs, Message, Usage};
use crate::api::answer::unix_time;
use crate::api::fields::Fields;
use crate::api::request::RequestReader;
use crate::api::{ApiError, App, messages};
use crate::manifest::Task;
use crate::prompt::EncodeOptions;
use crate::serving::Delta;

/// Answers a conversation.
pub(in crate::api) async fn completions(app: Arc<App>, request: Request) -> Result<Response, ApiError> {
    let mut reader = RequestReader::read(&app, request).await?;
    let (prompt, options, name) = reader.prepare(&app, prepare).await?;
    let scheduling = reader.scheduling(&app, options.scheduling)?;
    let prompt_tokens = prompt.len();
    let generator = app.generator()?;
    let mut choices = generator.start(vec![prompt], &options.generate, scheduling)?;
    let id = format!("chatcmpl-{}", Uuid::new_v4().simple());
    let logprobs = options.generate.sampling.logprobs.is_some();
    if options.stream {
        let heading = Heading {
            id,
            object: "chat.completion.chunk",
            model: name,
            prompt_tokens,
            include_usage: options.include_usage,
            arrived: scheduling.arrived,
        };
        let mut begun = vec![false; choices.len()];
        let chunk = move |app: &App, index: usize, delta: Delta| {
            let first = (!std::mem::replace(&mut begun[index], true)).then(|| first_chunk(index));
            first.into_iter().chain(chunks(app, index, delta, logprobs)).collect()
        };
        return stream::answer(app.clone(), heading, choices, chunk).await;
    }
    let wholes = try_join_all(choices.iter_mut().map(|choice| choice.whole())).await?;
    let endings: Vec<_> = wholes.iter().filter_map(|whole| whole.ending).collect();
    generator.answered(prompt_tokens, &endings, scheduling.arrived);
    let choice = |(index, whole): (usize, Delta)| ChatChoice {
        index,
        logprobs: logprobs.then(|| ChatLogprobs::new(&whole.tokens, generator.vocabulary())),
        message: Some(Message { role: Some("assistant"), content: Some(whole.text) }),
        delta: None,
        finish_reason: whole.ending.map(|ending| ending.finish_reason),
    };
    let answer = Answer {
        id: &id,
        object: "chat.completion",
        created: unix_time(),
        model: &name,
        choices: wholes.into_iter().enumerate().map(choice).collect(),
        usage: Some(Some(Usage::new(prompt_tokens, &endings))),
    };
    Ok(Json(answer).into_response())
}

fn first_chunk(index: usize) -> ChatChoice {
    let delta = Some(Message { role: Some("assistant"), content: Some(String::new()) });
    ChatChoice { index, message: None, delta, logprobs: None, finish_reason: None }
}

/// The text, if there is some, and the end, if this is it.
fn chunks(app: &App, index: usize, delta: Delta, logprobs: bool) -> impl Iterator<Item = ChatChoice> + use<> {
    let logprobs = match app.generator() {
        Ok(generator) if logprobs => Some(ChatLogprobs::new(&delta.tokens, generator.vocabulary())),
        _ => None,
    };
    let some = !delta.text.is_empty() || (logprobs.is_some() && !delta.tokens.is_empty());
    let text = some.then_some(ChatChoice {
        index,
        message: None,
        delta: Some(Message { role: None, content: Some(delta.text) }),
        logprobs,
        finish_reason: None,
    });
    let end = delta.ending.map(|ending| ChatChoice {
        index,
        message: None,
        delta: Some(Message::default()),
        logprobs: None,
        finish_reason: Some(ending.finish_reason),
    });
    text.into_iter().chain(end)
}

/// The prompt, how to go on from it, and the model's name.
fn prepare(app: &App, body: &[u8]) -> Result<(Vec<u32>, Options, String), ApiError> {
    let generator = app.generator()?;
    if generator.task() != Task::Chat {
        let reason =
            "the model served here completes texts and has no chat template; use POST /v1/completions";
        return Err(ApiError::WrongTask(reason));
    }
    let mut fields = Fields::parse(body)?;
    let model: String = fields.require("model")?;
    let name = app.model(Some(&model))?.name.to_owned();
    let messages = messages::read("messages", fields.require("messages")?)?;
    let mut options = Options::take(&mut fields, generator)?;
    let max_tokens = options::max_tokens(&mut fields, "max_tokens")?;
    options.generate.max_tokens = options::max_tokens(&mut fields, "max_completion_tokens")?.or(max_tokens);
    let logprobs = fields.take("logprobs")?.unwrap_or(false);
    let top = options::top_logprobs(&mut fields, "top_logprobs")?;
    if top.is_some() && !logprobs {
        let reason = "is for log-probabilities: send it with `logprobs` true, or leave it out";
        return Err(ApiError::Invalid("top_logprobs".into(), reason.into()));
    }
    options.generate.sampling.logprobs = logprobs.then_some(top.unwrap_or(0));
    fields.take_text_only()?;
    let add_generation_prompt = fields.take("add_generation_prompt")?.unwrap_or(true);
    fields.end("this server does not do that; leave it out")?;
    let prompt = generator.encoder().encode(&messages, EncodeOptions { add_generation_prompt })?;
    Ok((prompt, options, name))
}
