//! `POST /v1/completions`.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Request, State};
use axum::response::{IntoResponse, Response};
use futures_util::future::try_join_all;
use serde_json::Value;
use uuid::Uuid;

use super::options::{self, Options};
use super::stream::{self, Heading};
use super::wire::{Answer, TextChoice, TextLogprobs, Usage};
use crate::api::answer::unix_time;
use crate::api::fields::{Fields, wrong_type};
use crate::api::openapi::{Errors, requests};
use crate::api::request::RequestReader;
use crate::api::{ApiError, App};
use crate::serving::{Delta, Generator};

/// Tokens that are generated where the request does not say, as in OpenAI's API.
const DEFAULT_MAX_TOKENS: usize = 16;
/// Most prompts of one request.
const MOST_PROMPTS: usize = 1024;

/// What a request asks for.
struct Call {
    model: String,
    prompts: Vec<Vec<u32>>,
    options: Options,
    /// What of each prompt its answers are to begin with.
    echo: Vec<Echo>,
}

/// A prompt as an answer begins with it; empty unless that is asked for.
#[derive(Clone, Debug, Default)]
struct Echo {
    text: String,
    /// Its first token, if the others are looked up.
    first: Option<u32>,
}

/// Continues texts, by a model that generates.
#[utoipa::path(post, path = "/v1/completions", tag = "text", request_body = requests::CompletionRequest, responses((status = 200, content((Answer<'static, TextChoice> = "application/json"), (String = "text/event-stream"))), Errors))]
pub(in crate::api) async fn completions(
    State(app): State<Arc<App>>,
    request: Request,
) -> Result<Response, ApiError> {
    let mut reader = RequestReader::read(&app, request).await?;
    let Call { model, prompts, options, echo } = reader.prepare(&app, prepare).await?;
    let scheduling = reader.scheduling(&app, options.scheduling)?;
    let prompt_tokens = prompts.iter().map(Vec::len).sum();
    let generator = app.generator()?;
    let mut choices = generator.start(prompts, &options.generate, scheduling)?;
    let id = format!("cmpl-{}", Uuid::new_v4().simple());
    let logprobs = options.generate.sampling.logprobs.is_some();
    let echoed: Vec<Echo> = echo.into_iter().flat_map(|echo| vec![echo; options.generate.n]).collect();
    let mut offsets = vec![0; choices.len()];
    if options.stream {
        let heading = Heading {
            id,
            object: "text_completion",
            model,
            prompt_tokens,
            include_usage: options.include_usage,
            arrived: scheduling.arrived,
        };
        let mut echoed = echoed;
        let chunk = move |app: &App, index: usize, delta: Delta| {
            let generator = app.generator().ok().filter(|_| logprobs);
            let echo = std::mem::take(&mut echoed[index]);
            vec![choice(generator, index, delta, echo, &mut offsets[index])]
        };
        return stream::answer(app.clone(), heading, choices, chunk).await;
    }
    let wholes = try_join_all(choices.iter_mut().map(|choice| choice.whole())).await?;
    let endings: Vec<_> = wholes.iter().filter_map(|whole| whole.ending).collect();
    generator.answered(prompt_tokens, &endings, scheduling.arrived);
    let choices = wholes.into_iter().zip(echoed).enumerate().map(|(index, (whole, echo))| {
        choice(logprobs.then_some(generator), index, whole, echo, &mut offsets[index])
    });
    let answer = Answer {
        id: &id,
        object: "text_completion",
        created: unix_time(),
        model: &model,
        choices: choices.collect(),
        usage: Some(Some(Usage::new(prompt_tokens, &endings))),
    };
    Ok(Json(answer).into_response())
}

/// A choice behind its prompt; `generator` spells the tokens of log-probabilities, if they are asked for.
fn choice(
    generator: Option<&Generator>,
    index: usize,
    delta: Delta,
    echo: Echo,
    offset: &mut usize,
) -> TextChoice {
    *offset += echo.text.chars().count();
    let logprobs = generator.map(|generator| {
        let vocabulary = generator.vocabulary();
        let mut logprobs = TextLogprobs::default();
        if let Some(first) = echo.first {
            logprobs.push_prompt(first, &delta.prompt, &echo.text, vocabulary);
        }
        logprobs.push(&delta.tokens, vocabulary, offset);
        // An engine that samples by itself need not tell that of an end token.
        let end_token = delta.end_token.filter(|token| token.logprob.is_some());
        logprobs.push(end_token.as_slice(), vocabulary, offset);
        logprobs
    });
    let finish_reason = delta.ending.map(|ending| ending.finish_reason);
    TextChoice { index, text: echo.text + &delta.text, logprobs, finish_reason }
}

fn prepare(app: &App, body: &[u8]) -> Result<Call, ApiError> {
    let generator = app.generator()?;
    let mut fields = Fields::parse(body)?;
    let model: String = fields.require("model")?;
    let model = app.model(Some(&model))?.name.to_owned();
    let prompt: Value = fields.require("prompt")?;
    let add_special_tokens = fields.take("add_special_tokens")?.unwrap_or(true);
    let prompts = prompts(generator, prompt, add_special_tokens)?;
    let mut options = Options::take(&mut fields, generator)?;
    let echo = fields.take("echo")?.unwrap_or(false);
    let least = if echo { 0 } else { 1 };
    let max_tokens = options::whole(&mut fields, "max_tokens", least, i64::MAX)?;
    options.generate.prompt_only = max_tokens == Some(0);
    options.generate.max_tokens = Some(max_tokens.map_or(DEFAULT_MAX_TOKENS, |most| most.max(1) as usize));
    options.generate.sampling.logprobs = options::top_logprobs(&mut fields, "logprobs")?;
    options.generate.sampling.prompt_logprobs = echo && options.generate.sampling.logprobs.is_some();
    if fields.take::<String>("suffix")?.is_some_and(|suffix| !suffix.is_empty()) {
        return Err(ApiError::Unsupported("suffix".into(), "texts are only continued; leave it out".into()));
    }
    fields.end("this server does not do that; leave it out")?;
    let look_up = options.generate.sampling.prompt_logprobs;
    let echoed = |(ids, text): &(Vec<u32>, String)| match echo {
        true => Echo { text: text.clone(), first: ids.first().copied().filter(|_| look_up) },
        false => Echo::default(),
    };
    let echo = prompts.iter().map(echoed).collect();
    Ok(Call { model, prompts: prompts.into_iter().map(|prompt| prompt.0).collect(), options, echo })
}

/// Tokens and texts of a prompt: a text, a list of texts, a list of token ids, or a list of such lists.
fn prompts(
    generator: &Generator,
    value: Value,
    add_special_tokens: bool,
) -> Result<Vec<(Vec<u32>, String)>, ApiError> {
    let one = |path: String, value: Value| match value {
        Value::String(text) => {
            let ids = generator.encoder().encode_completion(&text, add_special_tokens)?;
            Ok((ids, text))
        }
        Value::Array(ids) if !ids.is_empty() => {
            let id =
                |(index, id): (usize, &Value)| options::token_id(id, &format!("{path}[{index}]"), generator);
            let ids = ids.iter().enumerate().map(id).collect::<Result<Vec<_>, _>>()?;
            let text = generator.vocabulary().decode(&ids);
            Ok((ids, text))
        }
        Value::Array(_) => Err(ApiError::Invalid(path, "is empty: send at least one token".into())),
        other => Err(wrong_type(path, "a string or a list of token ids", &other)),
    };
    match value {
        Value::Array(list) if list.iter().any(|item| item.is_string() || item.is_array()) => {
            if list.len() > MOST_PROMPTS {
                let reason = format!("has {} prompts: send up to {MOST_PROMPTS}", list.len());
                return Err(ApiError::Invalid("prompt".into(), reason));
            }
            list.into_iter().enumerate().map(|(index, item)| one(format!("prompt[{index}]"), item)).collect()
        }
        single => Ok(vec![one("prompt".into(), single)?]),
    }
}
