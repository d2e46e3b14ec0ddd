//! `POST /v1/completions`.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Request, State};
use axum::response::{IntoResponse, Response};
use futures_util::future::try_join_all;
use serde::Deserialize;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::choices::{TextChoice, usage};
use super::logprobs::{LogprobStyle, TextLogprobs, prompt_logprobs};
use super::options::GenerationSchema;
use super::options::{self, Options};
use super::prompts::{self, EncodedPrompt, PromptOptions};
use super::stream::{self, ChunkWriter, Heading};
use super::wanted_logprobs::{self, WantedLogprobs, top_logprobs};
use crate::api::app::App;
use crate::api::compat;
use crate::api::error::ApiError;
use crate::api::fields::Fields;
use crate::api::openapi::Errors;
use crate::api::request::{CommonSchema, ReceivedBody, ReceivedRequest};
use crate::api::truncation::LengthSchema;
use crate::api::wire::{Completion, new_id, unix_time};
use crate::prompt::is_cancelled;
use crate::serving::{Delta, Generator};

/// Tokens to generate unless the request says otherwise, as in OpenAI's API.
const DEFAULT_MAX_TOKENS: usize = 16;

/// Maximum number of choices of one call; each is computed on its own.
const MAX_CHOICES_OF_A_CALL: usize = 1024;

/// A text to continue, by a model that generates. docs/generation.md lists the fields that change how; what is
/// not supported is refused by name.
#[derive(ToSchema)]
#[expect(dead_code, reason = "the schema of what `prepare` reads")]
struct CompletionRequest {
    prompt: PromptSchema,
    /// 16 if absent; 0 only with `echo`.
    #[schema(minimum = 0)]
    max_tokens: Option<i64>,
    /// The number of likeliest tokens to report in addition to the chosen one; with `echo`, also for the prompt.
    #[schema(minimum = 0, maximum = 20)]
    logprobs: Option<i64>,
    /// Whether the choice starts with the prompt.
    echo: Option<bool>,
    /// Whether the tokens that every text of the model has are added to the prompt; true if absent.
    add_special_tokens: Option<bool>,
    /// From a reward model: whether the scores at each token are returned, in place of text.
    return_context_logits: Option<bool>,
    #[serde(flatten)]
    generation: GenerationSchema,
    #[serde(flatten)]
    length: LengthSchema,
    #[serde(flatten)]
    common: CommonSchema,
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
    prompts: Vec<EncodedPrompt>,
    options: Options,
    wanted: Wanted,
}

/// What a choice has in addition to the generated text.
#[derive(Debug)]
struct Wanted {
    /// The prompt, before the text.
    echo: bool,
    logprobs: WantedLogprobs,
    token_ids: bool,
}

/// What a choice repeats of its prompt, if the request asks for it.
#[derive(Clone, Debug, Default)]
struct Start {
    /// The prompt itself.
    echo: String,
    /// The prompt's first token, if the log-probabilities include those of the prompt.
    first: Option<u32>,
    /// How many likeliest tokens the prompt's own log-probabilities have.
    prompt_logprobs: Option<usize>,
    prompt_token_ids: Option<Vec<u32>>,
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
    if app.scorer().is_ok() {
        return compat::context_logits(app, request).await;
    }
    let mut reader = ReceivedRequest::read(&app, request).await?;
    let CompletionCall { model, prompts, options, wanted } = reader.prepare(&app, prepare).await?;
    let scheduling = reader.scheduling(&app, &options.scheduling)?;
    let generator = app.generator()?;
    let prompt_field = if wanted.logprobs.prompt.is_some() { "prompt_logprobs" } else { "echo" };
    let (mut prompt_tokens, mut choices, mut starts) = (0, Vec::new(), Vec::new());
    for EncodedPrompt { path, text, tokens } in prompts {
        prompt_tokens += tokens.len();
        starts.extend(vec![Start::new(text, &tokens, &wanted); options.generate.n]);
        let started = generator.start(tokens, &options.generate, scheduling);
        choices.extend(started.map_err(|error| options::refused(error, &path, prompt_field))?);
    }
    let id = new_id("cmpl");
    let mut writer = TextWriter { offsets: vec![0; choices.len()], starts, wanted };
    if options.stream {
        let heading = Heading {
            id,
            object: "text_completion",
            model,
            prompt_tokens,
            usage: options.usage,
            arrived: scheduling.arrived,
            prompt_token_ids: None,
            n: options.generate.n,
        };
        return stream::respond(app, heading, choices, writer).await;
    }
    let wholes = try_join_all(choices.iter_mut().map(|choice| choice.whole()));
    let wholes = wholes.await.map_err(ApiError::without_item)?;
    let endings: Vec<_> = wholes.iter().filter_map(|whole| whole.ending.clone()).collect();
    generator.answered(prompt_tokens, &endings, scheduling.arrived);
    let mut choices = Vec::with_capacity(wholes.len());
    for (index, whole) in wholes.into_iter().enumerate() {
        choices.push(writer.choice(generator, index, &whole));
    }
    let response = Completion {
        id: &id,
        object: "text_completion",
        created: unix_time(),
        model: &model,
        choices,
        usage: Some(usage(prompt_tokens, &endings, options.generate.n).into()),
        truncated: None,
        score_options: None,
        prompt_logprobs: None,
        prompt_token_ids: None,
    };
    Ok(Json(response).into_response())
}

impl Start {
    fn new(text: String, tokens: &[u32], wanted: &Wanted) -> Self {
        Self {
            echo: if wanted.echo { text } else { String::new() },
            first: tokens.first().copied().filter(|_| wanted.echo && wanted.logprobs.choice.is_some()),
            prompt_logprobs: wanted.logprobs.prompt,
            prompt_token_ids: wanted.token_ids.then(|| tokens.to_vec()),
        }
    }
}

/// Writes choices, each after its prompt if that is echoed.
struct TextWriter {
    /// What is still to be written before each choice.
    starts: Vec<Start>,
    /// Characters written of each choice.
    offsets: Vec<usize>,
    wanted: Wanted,
}

impl TextWriter {
    fn choice(&mut self, generator: &Generator, index: usize, delta: &Delta) -> TextChoice {
        let start = std::mem::take(&mut self.starts[index]);
        let offset = &mut self.offsets[index];
        *offset += start.echo.chars().count();
        let (vocabulary, style) = (generator.vocabulary(), self.wanted.logprobs.choice);
        TextChoice {
            index,
            logprobs: style.map(|style| logprobs(generator, delta, &start, style, offset)),
            end: delta.ending.clone().into(),
            prompt_logprobs: start.prompt_logprobs.map(|top| prompt_logprobs(&delta.prompt, top, vocabulary)),
            prompt_token_ids: start.prompt_token_ids,
            token_ids: self.wanted.token_ids.then(|| delta.token_ids()),
            text: start.echo + &delta.text,
        }
    }
}

impl ChunkWriter for TextWriter {
    type Choice = TextChoice;

    fn chunks(&mut self, generator: &Generator, index: usize, delta: Delta) -> Vec<TextChoice> {
        vec![self.choice(generator, index, &delta)]
    }
}

/// Log-probabilities of a piece whose text starts at the character `offset`, which moves to its end.
fn logprobs(
    generator: &Generator,
    delta: &Delta,
    start: &Start,
    style: LogprobStyle,
    offset: &mut usize,
) -> TextLogprobs {
    let vocabulary = generator.vocabulary();
    let mut logprobs = TextLogprobs::new(style);
    if let Some(first) = start.first {
        logprobs.push_prompt(first, &delta.prompt, &start.echo, vocabulary);
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

fn prepare(app: &App, body: &ReceivedBody) -> Result<CompletionCall, ApiError> {
    let generator = app.generator()?;
    let mut fields = Fields::parse(&body.bytes)?;
    let model: Option<String> = fields.take("model")?;
    let model = app.model(model.as_deref())?.name.to_owned();
    let list = prompts::list(fields.require_value("prompt", prompts::EXPECTED)?)?;
    let add_special_tokens = fields.take("add_special_tokens")?.unwrap_or(true);
    let mut options = Options::take(&mut fields, generator)?;
    let most = app.settings.server.max_request_items.min(MAX_CHOICES_OF_A_CALL);
    check_choices(list.len(), options.generate.n, most)?;
    let wanted = wanted(&mut fields, options.stream, generator.vocab_size())?;
    let max_tokens = max_tokens(&mut fields, if wanted.echo { 0 } else { 1 })?;
    let generate = &mut options.generate;
    generate.prompt_only = max_tokens == Some(0);
    let most = max_tokens.map_or(DEFAULT_MAX_TOKENS, |most| most.max(1) as usize);
    generate.max_tokens = Some(most);
    options::check_min_tokens(generate)?;
    wanted.logprobs.apply(&mut generate.sampling);
    generate.sampling.prompt_logprobs |= wanted.echo && wanted.logprobs.choice.is_some();
    let fit = options::prompt_fit(&mut fields, app, most)?;
    fields.take_neutral()?;
    fields.end("this server does not do that; leave it out")?;
    body.check_room(app, &options.scheduling)?;
    let encoding = PromptOptions { add_special_tokens, fit };
    let mut prompts = Vec::with_capacity(list.len());
    for (path, value) in list {
        if is_cancelled() {
            break;
        }
        prompts.push(prompts::encode(generator, path, value, &encoding)?);
    }
    Ok(CompletionCall { model, prompts, options, wanted })
}

/// Refuses a request for more choices than the server takes items in a call.
fn check_choices(prompts: usize, n: usize, most: usize) -> Result<(), ApiError> {
    let choices = prompts * n;
    // A single prompt may have as many choices as `n` may say.
    if prompts == 1 || choices <= most {
        return Ok(());
    }
    let reason = format!(
        "asks for {n} completions of each of {prompts} prompts, and this server returns at most {most} in one call: \
         send fewer prompts, or a smaller `n`"
    );
    Err(ApiError::invalid(if n > 1 { "n" } else { "prompt" }, reason))
}

fn wanted(fields: &mut Fields, stream: bool, vocab_size: usize) -> Result<Wanted, ApiError> {
    let echo = fields.take("echo")?.unwrap_or(false);
    let top = top_logprobs(fields, "logprobs")?;
    let prompt = wanted_logprobs::prompt_logprobs(fields, stream)?;
    let logprobs = WantedLogprobs::take(fields, (top, prompt), vocab_size)?;
    if echo {
        logprobs.refuse_labels_with_echo()?;
    }
    Ok(Wanted { echo, logprobs, token_ids: fields.take("return_token_ids")?.unwrap_or(false) })
}

/// Takes `max_tokens`. lmdeploy's client also sends `max_completion_tokens`, with its default.
fn max_tokens(fields: &mut Fields, least: i64) -> Result<Option<i64>, ApiError> {
    let newer = options::whole(fields, "max_completion_tokens", least, i64::MAX)?;
    Ok(options::whole(fields, "max_tokens", least, i64::MAX)?.or(newer))
}
