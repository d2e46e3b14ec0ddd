//! `POST /v1/completions`.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Request, State};
use axum::response::{IntoResponse, Response};
use futures_util::future::try_join_all;
use serde::Deserialize;
use serde_json::Value;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::choices::{TextChoice, TextLogprobs, usage};
use super::options::{self, Options};
use super::stream::{self, ChunkWriter, Heading};
use crate::api::app::App;
use crate::api::error::ApiError;
use crate::api::fields::{Fields, wrong_type};
use crate::api::item_path::ItemPath;
use crate::api::openapi::Errors;
use crate::api::request::RequestReader;
use crate::api::token_ids;
use crate::api::wire::{Completion, new_id, unix_time};
use crate::serving::{Delta, Generator};

/// Tokens to generate unless the request says otherwise, as in OpenAI's API.
const DEFAULT_MAX_TOKENS: usize = 16;
/// Most prompts of one request.
const MOST_PROMPTS: usize = 1024;

/// A text to continue, by a model that generates. docs/generation.md lists the fields that change how; what is
/// not supported is refused by name.
#[derive(ToSchema)]
#[expect(dead_code, reason = "the schema of what `prepare` reads")]
struct CompletionRequest {
    model: String,
    prompt: PromptSchema,
    /// 16 if absent; 0 only with `echo`.
    max_tokens: Option<u64>,
    /// For how many of the likeliest tokens besides the chosen one; with `echo`, also for the prompt.
    #[schema(minimum = 0, maximum = 20)]
    logprobs: Option<u64>,
    #[schema(minimum = 0, maximum = 2)]
    temperature: Option<f64>,
    #[schema(exclusive_minimum = 0, maximum = 1)]
    top_p: Option<f64>,
    seed: Option<i64>,
    #[schema(minimum = 1, maximum = 128)]
    n: Option<u64>,
    stream: Option<bool>,
    echo: Option<bool>,
}

/// A text, token ids, or a list of either.
#[derive(Deserialize, ToSchema)]
#[serde(untagged)]
#[schema(as = Prompt)]
#[expect(dead_code, reason = "the schema of what `prompts` reads")]
enum PromptSchema {
    Text(String),
    Texts(Vec<String>),
    Tokens(Vec<u32>),
    TokenLists(Vec<Vec<u32>>),
}

/// A request whose prompts are encoded.
struct CompletionCall {
    model: String,
    prompts: Vec<Prompt>,
    options: Options,
    echo: bool,
}

/// A prompt, and where it is in the request.
struct Prompt {
    path: ItemPath,
    text: String,
    tokens: Vec<u32>,
}

/// A prompt at the start of its answer; empty unless the request asks for it.
#[derive(Clone, Debug, Default)]
struct Echo {
    text: String,
    /// Its first token, if the log-probabilities of the others are wanted.
    first: Option<u32>,
}

pub(super) fn routes() -> OpenApiRouter<Arc<App>> {
    OpenApiRouter::new().routes(routes!(completions))
}

/// Continues texts, by a model that generates.
#[utoipa::path(
    post,
    path = "/v1/completions",
    tag = "text",
    request_body(
        content = CompletionRequest,
        example = json!({"model": "demo", "prompt": "Paris is", "max_tokens": 8, "temperature": 0}),
    ),
    responses(
        (status = 200, content((Completion<TextChoice> = "application/json"), (String = "text/event-stream"))),
        Errors
    ),
)]
pub(in crate::api) async fn completions(
    State(app): State<Arc<App>>,
    request: Request,
) -> Result<Response, ApiError> {
    let mut reader = RequestReader::read(&app, request).await?;
    let CompletionCall { model, prompts, options, echo } = reader.prepare(&app, prepare).await?;
    let scheduling = reader.scheduling(&app, options.scheduling)?;
    let generator = app.generator()?;
    let sampling = &options.generate.sampling;
    let (logprobs, prompt_logprobs) = (sampling.logprobs.is_some(), sampling.prompt_logprobs);
    let (mut prompt_tokens, mut choices, mut echoes) = (0, Vec::new(), Vec::new());
    for Prompt { path, text, tokens } in prompts {
        prompt_tokens += tokens.len();
        let first = tokens.first().copied().filter(|_| prompt_logprobs);
        let echo = if echo { Echo { text, first } } else { Echo::default() };
        echoes.extend(vec![echo; options.generate.n]);
        let started = generator.start(tokens, &options.generate, scheduling);
        choices.extend(started.map_err(|error| ApiError::on_item(error, &path))?);
    }
    let id = new_id("cmpl");
    let mut writer = TextWriter { offsets: vec![0; choices.len()], echoes, logprobs };
    if options.stream {
        let heading = Heading {
            id,
            object: "text_completion",
            model,
            prompt_tokens,
            usage: options.usage,
            arrived: scheduling.arrived,
        };
        return stream::respond(app, heading, choices, writer).await;
    }
    let wholes = try_join_all(choices.iter_mut().map(|choice| choice.whole()));
    let wholes = wholes.await.map_err(ApiError::without_item)?;
    let endings: Vec<_> = wholes.iter().filter_map(|whole| whole.ending).collect();
    generator.answered(prompt_tokens, &endings, scheduling.arrived);
    let mut choices = Vec::with_capacity(wholes.len());
    for (index, whole) in wholes.into_iter().enumerate() {
        choices.push(writer.choice(generator, index, &whole));
    }
    let answer = Completion {
        id: &id,
        object: "text_completion",
        created: unix_time(),
        model: &model,
        choices,
        usage: Some(usage(prompt_tokens, &endings).into()),
        truncated: None,
        score_options: None,
    };
    Ok(Json(answer).into_response())
}

/// Writes choices, each after its prompt if that is echoed.
struct TextWriter {
    /// What is still to be written before each choice.
    echoes: Vec<Echo>,
    /// Characters written of each choice.
    offsets: Vec<usize>,
    logprobs: bool,
}

impl TextWriter {
    fn choice(&mut self, generator: &Generator, index: usize, delta: &Delta) -> TextChoice {
        let echo = std::mem::take(&mut self.echoes[index]);
        let offset = &mut self.offsets[index];
        *offset += echo.text.chars().count();
        let logprobs = self.logprobs.then(|| logprobs(generator, delta, &echo, offset));
        let finish_reason = delta.ending.as_ref().map(|ending| ending.finish_reason);
        TextChoice { index, text: echo.text + &delta.text, logprobs, finish_reason }
    }
}

impl ChunkWriter for TextWriter {
    type Choice = TextChoice;

    fn chunks(&mut self, generator: &Generator, index: usize, delta: Delta) -> Vec<TextChoice> {
        vec![self.choice(generator, index, &delta)]
    }
}

/// Log-probabilities of a piece whose text starts at the character `offset`, which moves to its end.
fn logprobs(generator: &Generator, delta: &Delta, echo: &Echo, offset: &mut usize) -> TextLogprobs {
    let vocabulary = generator.vocabulary();
    let mut logprobs = TextLogprobs::default();
    if let Some(first) = echo.first {
        logprobs.push_prompt(first, &delta.prompt, &echo.text, vocabulary);
    }
    logprobs.push(&delta.tokens, vocabulary, offset);
    // An engine that samples by itself may give no log-probability of an end token.
    if let Some(end_token) = &delta.end_token
        && end_token.logprob.is_some()
    {
        logprobs.push(std::slice::from_ref(end_token), vocabulary, offset);
    }
    logprobs
}

fn prepare(app: &App, body: &[u8]) -> Result<CompletionCall, ApiError> {
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
    let max_tokens = max_tokens(&mut fields, least)?;
    let generate = &mut options.generate;
    generate.prompt_only = max_tokens == Some(0);
    generate.max_tokens = Some(max_tokens.map_or(DEFAULT_MAX_TOKENS, |most| most.max(1) as usize));
    generate.sampling.logprobs = options::top_logprobs(&mut fields, "logprobs")?;
    generate.sampling.prompt_logprobs = echo && generate.sampling.logprobs.is_some();
    fields.take_neutral()?;
    fields.end("this server does not do that; leave it out")?;
    Ok(CompletionCall { model, prompts, options, echo })
}

/// Takes `max_tokens`. A client of lmdeploy's sends its default of `max_completion_tokens` beside it.
fn max_tokens(fields: &mut Fields, least: i64) -> Result<Option<i64>, ApiError> {
    let newer = options::whole(fields, "max_completion_tokens", least, i64::MAX)?;
    Ok(options::whole(fields, "max_tokens", least, i64::MAX)?.or(newer))
}

/// Encodes `prompt`: a text, a list of texts, a list of token ids, or a list of such lists.
fn prompts(generator: &Generator, value: Value, add_special_tokens: bool) -> Result<Vec<Prompt>, ApiError> {
    let list = match value {
        Value::Array(list) if list.first().is_some_and(|first| !first.is_number()) => list,
        single => return Ok(vec![prompt(generator, "prompt".into(), single, add_special_tokens)?]),
    };
    if list.len() > MOST_PROMPTS {
        let reason = format!("has {} prompts: send up to {MOST_PROMPTS}", list.len());
        return Err(ApiError::invalid("prompt", reason));
    }
    let mut prompts = Vec::with_capacity(list.len());
    for (index, value) in list.into_iter().enumerate() {
        prompts.push(prompt(generator, format!("prompt[{index}]"), value, add_special_tokens)?);
    }
    Ok(prompts)
}

fn prompt(
    generator: &Generator,
    path: String,
    value: Value,
    add_special_tokens: bool,
) -> Result<Prompt, ApiError> {
    match value {
        Value::String(text) => {
            let path = ItemPath::field(path);
            let encoded = generator.encoder().encode_completion(&text, add_special_tokens);
            let tokens = encoded.map_err(|error| ApiError::on_item(error, &path))?;
            Ok(Prompt { path, text, tokens })
        }
        Value::Array(ids) => {
            let tokens = token_ids::read(&path, &ids, generator.vocab_size())?;
            let text = generator.vocabulary().decode(&tokens);
            Ok(Prompt { path: ItemPath::field(path), text, tokens })
        }
        other => Err(wrong_type(path, "a string or a list of token ids", &other)),
    }
}
