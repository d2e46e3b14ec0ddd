//! `POST /v1/completions`.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Request, State};
use axum::response::{IntoResponse, Response};
use futures_util::future::try_join_all;
use serde_json::Value;
use uuid::Uuid;

use super::Generator;
use super::choice::Delta;
use super::options::{self, Options};
use super::stream::{self, Heading};
use super::wire::{Answer, TextChoice, TextLogprobs, Usage};
use crate::api::answer::unix_time;
use crate::api::fields::{Fields, wrong_type};
use crate::api::intake::Intake;
use crate::api::openapi::{Errors, requests};
use crate::api::{ApiError, App};

/// Tokens that are generated where the request does not say, as in OpenAI's API.
const DEFAULT_MAX_TOKENS: usize = 16;
/// Most prompts of one request.
const MOST_PROMPTS: usize = 1024;

/// What a request asks for.
struct Call {
    model: String,
    prompts: Vec<Vec<u32>>,
    options: Options,
    /// Texts of the prompts, if the answer is to begin with them.
    echo: Vec<String>,
}

/// Continues texts, by a model that generates.
#[utoipa::path(post, path = "/v1/completions", tag = "text", request_body = requests::CompletionRequest, responses((status = 200, content((Answer<'static, TextChoice> = "application/json"), (String = "text/event-stream"))), Errors))]
pub(in crate::api) async fn completions(
    State(app): State<Arc<App>>,
    request: Request,
) -> Result<Response, ApiError> {
    let mut intake = Intake::read(&app, request).await?;
    let Call { model, prompts, options, echo } = intake.prepare(&app, prepare).await?;
    let urgency = intake.urgency(&app, options.wish)?;
    let prompt_tokens = prompts.iter().map(Vec::len).sum();
    let generator = app.generator()?;
    let mut choices = generator.begin(prompts, &options, urgency)?;
    let id = format!("cmpl-{}", Uuid::new_v4().simple());
    let logprobs = options.sampling.logprobs.is_some();
    let echoed: Vec<String> =
        (0..choices.len()).map(|index| echo.get(index / options.n).cloned().unwrap_or_default()).collect();
    let mut offsets = vec![0; choices.len()];
    if options.stream {
        let heading = Heading {
            id,
            object: "text_completion",
            model,
            prompt_tokens,
            include_usage: options.include_usage,
            arrived: urgency.arrived,
        };
        let mut echoed = echoed;
        let chunk = move |app: &App, index: usize, mut delta: Delta| {
            delta.text.insert_str(0, &std::mem::take(&mut echoed[index]));
            let generator = app.generator().ok();
            vec![choice(generator, index, delta, logprobs, &mut offsets[index])]
        };
        return stream::answer(app.clone(), heading, choices, chunk).await;
    }
    let wholes = try_join_all(choices.iter_mut().map(|choice| choice.whole())).await?;
    let endings: Vec<_> = wholes.iter().filter_map(|whole| whole.ending).collect();
    generator.answered(prompt_tokens, &endings, urgency.arrived);
    let choices = wholes.into_iter().zip(echoed).enumerate().map(|(index, (mut whole, echoed))| {
        whole.text.insert_str(0, &echoed);
        choice(Some(generator), index, whole, logprobs, &mut offsets[index])
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

fn choice(
    generator: Option<&Generator>,
    index: usize,
    delta: Delta,
    logprobs: bool,
    offset: &mut usize,
) -> TextChoice {
    let logprobs = generator
        .filter(|_| logprobs)
        .map(|generator| TextLogprobs::new(&delta.tokens, &generator.vocabulary, offset));
    let finish_reason = delta.ending.map(|ending| ending.finish_reason);
    TextChoice { index, text: delta.text, logprobs, finish_reason }
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
    options.max_tokens = Some(options::max_tokens(&mut fields, "max_tokens")?.unwrap_or(DEFAULT_MAX_TOKENS));
    options.sampling.logprobs = options::top_logprobs(&mut fields, "logprobs")?;
    let echo = fields.take("echo")?.unwrap_or(false);
    if echo && options.sampling.logprobs.is_some() {
        let reason = "log-probabilities of the prompt are not computed; leave out echo or logprobs";
        return Err(ApiError::Unsupported("echo".into(), reason.into()));
    }
    if fields.take::<String>("suffix")?.is_some_and(|suffix| !suffix.is_empty()) {
        return Err(ApiError::Unsupported("suffix".into(), "texts are only continued; leave it out".into()));
    }
    fields.end("this server does not do that; leave it out")?;
    let texts: Vec<String> = prompts.iter().map(|prompt| prompt.1.clone()).collect();
    Ok(Call {
        model,
        prompts: prompts.into_iter().map(|prompt| prompt.0).collect(),
        options,
        echo: if echo { texts } else { vec![] },
    })
}

/// Tokens and texts of a prompt: a text, a list of texts, a list of token ids, or a list of such lists.
fn prompts(
    generator: &Generator,
    value: Value,
    add_special_tokens: bool,
) -> Result<Vec<(Vec<u32>, String)>, ApiError> {
    let one = |path: String, value: Value| match value {
        Value::String(text) => {
            let ids = generator.encoder.encode_completion(&text, add_special_tokens)?;
            Ok((ids, text))
        }
        Value::Array(ids) if !ids.is_empty() => {
            let id =
                |(index, id): (usize, &Value)| options::token_id(id, &format!("{path}[{index}]"), generator);
            let ids = ids.iter().enumerate().map(id).collect::<Result<Vec<_>, _>>()?;
            let text = generator.vocabulary.decode(&ids);
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
