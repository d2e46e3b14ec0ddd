//! Probabilities of label tokens after each item, from a model that generates text: SGLang's `POST /v1/score` and
//! vLLM's `POST /generative_scoring`. Nothing is generated.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Request, State};
use axum::response::{IntoResponse, Response};
use futures_util::stream::{self, StreamExt, TryStreamExt};
use serde_json::Value;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::inputs::TokensSchema;
use super::sglang_score::{ItemsSchema, QuerySchema};
use super::sglang_score::{Joined, LABELS, Matrix, Parts, item_path, no_labels, refuse_extraction};
use super::vllm::List;
use super::vllm_score::PairScore;
use crate::api::app::App;
use crate::api::error::ApiError;
use crate::api::fields::{Fields, wrong_type};
use crate::api::item_path::ItemPath;
use crate::api::middleware::limits::{check_count, reserve_items};
use crate::api::openapi::Errors;
use crate::api::request::CommonSchema;
use crate::api::request::{ReceivedBody, ReceivedRequest, SchedulingFields};
use crate::api::token_ids;
use crate::api::wire::Usage;
use crate::sampling::Sampling;
use crate::serving::{GenerateOptions, Generator, Scheduling, Stops};

/// Maximum number of items of a request that are with the scheduler at once.
const IN_FLIGHT: usize = 256;

pub(super) fn routes() -> OpenApiRouter<Arc<App>> {
    OpenApiRouter::new().routes(routes!(generative_scoring))
}

/// A query, and items after it.
#[derive(ToSchema)]
#[expect(dead_code, reason = "the schema of what `prepare` reads")]
struct GenerativeScoringRequest {
    query: Option<QuerySchema>,
    items: ItemsSchema,
    /// One list for all items, or one for each.
    label_token_ids: TokensSchema,
    /// Whether the labels' probabilities add up to 1; true if absent.
    apply_softmax: Option<bool>,
    /// Whether items come before the query.
    item_first: Option<bool>,
    /// Whether the tokens that every text of the model has are added to the query.
    add_special_tokens: Option<bool>,
    /// Divides the labels' log-probabilities before `apply_softmax`.
    #[schema(exclusive_minimum = 0)]
    temperature: Option<f64>,
    /// Read by `/v1/score` only.
    return_token_logprobs: Option<bool>,
    #[serde(flatten)]
    common: CommonSchema,
}

/// Which server's request it is.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Dialect {
    Sglang,
    Vllm,
}

/// A request whose items are encoded.
struct LabelCall {
    model: Option<String>,
    scheduling: SchedulingFields,
    items: Vec<Labelled>,
    /// Whether the labels' probabilities add up to 1.
    softmax: bool,
    /// Divides the labels' log-probabilities before that.
    temperature: f64,
    logprobs: bool,
}

/// The token ids of an item with its query, and the labels to score after it.
struct Labelled {
    path: ItemPath,
    tokens: Vec<u32>,
    labels: Vec<u32>,
}

/// The log-probabilities of each item's labels, and what they cost.
struct LabelScores {
    logprobs: Vec<Vec<f64>>,
    usage: Usage,
}

/// Scores label tokens after each item, by a model that generates text.
#[utoipa::path(
    post,
    path = "/generative_scoring",
    tag = "text",
    request_body(content = GenerativeScoringRequest, example = json!({
        "model": "demo", "query": "Is Paris a city? ", "items": ["Yes or no:"], "label_token_ids": [5, 7]
    })),
    responses((status = 200, body = List<PairScore>), Errors),
)]
async fn generative_scoring(State(app): State<Arc<App>>, request: Request) -> Result<Response, ApiError> {
    let (call, scores) = scored(&app, request, Dialect::Vllm).await?;
    let mut data = Vec::with_capacity(scores.logprobs.len());
    for (index, logprobs) in scores.logprobs.iter().enumerate() {
        let first = call.probabilities(logprobs).first().copied().unwrap_or_default();
        data.push(PairScore::new(index, first));
    }
    let model = app.model(call.model.as_deref())?.name;
    Ok(Json(List::new("generative-scoring", model, data, scores.usage)).into_response())
}

/// Answers SGLang's `POST /v1/score`.
///
/// # Errors
/// The request is wrong, or an item could not be scored.
pub(super) async fn matrix(app: Arc<App>, request: Request) -> Result<Response, ApiError> {
    let (call, scores) = scored(&app, request, Dialect::Sglang).await?;
    let rows = scores.logprobs.iter().map(|logprobs| call.probabilities(logprobs)).collect();
    let model = app.model(call.model.as_deref())?.name;
    let logprobs = call.logprobs.then_some(scores.logprobs);
    Ok(Json(Matrix::new(model, rows, logprobs, scores.usage)).into_response())
}

async fn scored(
    app: &Arc<App>,
    request: Request,
    dialect: Dialect,
) -> Result<(LabelCall, LabelScores), ApiError> {
    let mut reader = ReceivedRequest::read(app, request).await?;
    let mut call = reader.prepare(app, move |app, body| prepare(app, body, dialect)).await?;
    let scheduling = reader.scheduling(app, &call.scheduling)?;
    let generator = app.generator()?;
    let items = std::mem::take(&mut call.items);
    let prompt_tokens = items.iter().map(|item| item.tokens.len()).sum();
    let scored = stream::iter(items.into_iter().map(|item| item.score(generator, scheduling)));
    let scored: Vec<(Vec<f64>, usize)> = scored.buffered(IN_FLIGHT).try_collect().await?;
    generator.answered(prompt_tokens, &[], scheduling.arrived);
    let cached_tokens = scored.iter().map(|(_, cached)| cached).sum();
    let logprobs = scored.into_iter().map(|(logprobs, _)| logprobs).collect();
    Ok((call, LabelScores { logprobs, usage: Usage::new(prompt_tokens, 0, Some(cached_tokens)) }))
}

impl Labelled {
    /// The log-probabilities of the labels, and how many of the item's tokens were not computed for it.
    async fn score(
        self,
        generator: &Generator,
        scheduling: Scheduling,
    ) -> Result<(Vec<f64>, usize), ApiError> {
        let Self { path, tokens, labels } = self;
        let options = GenerateOptions {
            sampling: Sampling { logprobs: Some(0), label_tokens: labels, ..Sampling::greedy(1, Vec::new()) },
            max_tokens: Some(1),
            prompt_only: false,
            n: 1,
            stops: Stops { texts: Arc::default(), tokens: Arc::default(), keep: false },
            skip_special: true,
        };
        let started = generator.start(tokens, &options, scheduling);
        let mut choices = started.map_err(|error| ApiError::on_item(error, &path))?;
        let choice = choices.first_mut().ok_or_else(|| ApiError::internal("nothing was started"))?;
        let whole = choice.whole().await.map_err(|error| ApiError::on_item(error, &path))?;
        let sampled = whole.tokens.first().or(whole.end_token.as_ref());
        let sampled = sampled.ok_or_else(|| ApiError::internal("no token was chosen after an item"))?;
        let cached_tokens = whole.ending.as_ref().and_then(|ending| ending.cached_tokens).unwrap_or(0);
        Ok((sampled.top.iter().map(|(_, logprob)| f64::from(*logprob)).collect(), cached_tokens))
    }
}

impl LabelCall {
    /// Probabilities of labels.
    fn probabilities(&self, logprobs: &[f64]) -> Vec<f64> {
        if !self.softmax {
            return logprobs.iter().map(|logprob| logprob.exp()).collect();
        }
        let largest = logprobs.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let weights: Vec<f64> =
            logprobs.iter().map(|logprob| ((logprob - largest) / self.temperature).exp()).collect();
        let sum: f64 = weights.iter().sum();
        weights.into_iter().map(|weight| weight / sum).collect()
    }
}

fn prepare(app: &App, body: &ReceivedBody, dialect: Dialect) -> Result<LabelCall, ApiError> {
    let generator = app.generator().map_err(|error| match error {
        ApiError::WrongTask(_) => no_labels(LABELS),
        error => error,
    })?;
    let mut fields = Fields::parse(&body.bytes)?;
    let model = fields.take::<String>("model")?;
    app.model(model.as_deref())?;
    let scheduling = SchedulingFields::take(&mut fields)?;
    body.check_room(app, &scheduling)?;
    let add_special_tokens = fields.take::<bool>("add_special_tokens")?.unwrap_or(true);
    let prompts = prompts(&mut fields, app, dialect, add_special_tokens)?;
    let labels = labels(&mut fields, prompts.len(), generator.vocab_size())?;
    let softmax = fields.take::<bool>("apply_softmax")?.unwrap_or(dialect == Dialect::Vllm);
    let temperature = fields.take::<f64>("temperature")?.unwrap_or(1.0);
    if !(temperature.is_finite() && temperature > 0.0) {
        return Err(ApiError::invalid("temperature", "must be above 0"));
    }
    if temperature != 1.0 && !softmax {
        return Err(ApiError::invalid(
            "temperature",
            "changes nothing without `apply_softmax`: send both or neither",
        ));
    }
    let logprobs = fields.take::<bool>("return_token_logprobs")?.unwrap_or(false);
    refuse_extraction(&mut fields)?;
    fields.take_neutral()?;
    fields.end("this route knows no such field; leave it out")?;
    let mut items = Vec::with_capacity(prompts.len());
    for ((path, tokens), labels) in prompts.into_iter().zip(labels) {
        items.push(Labelled { path, tokens, labels });
    }
    Ok(LabelCall { model, scheduling, items, softmax, temperature, logprobs })
}

/// Token ids of the query with each item, and where these are. SGLang encodes the joined text, vLLM each part of it.
fn prompts(
    fields: &mut Fields,
    app: &App,
    dialect: Dialect,
    add_special_tokens: bool,
) -> Result<Vec<(ItemPath, Vec<u32>)>, ApiError> {
    let settings = &app.settings.server;
    let mut parts = Parts::take(fields, settings)?;
    reserve_items(parts.items.len());
    if dialect == Dialect::Vllm {
        check_count("items", parts.items.len(), settings)?;
        encode_parts(&mut parts, app, add_special_tokens)?;
    }
    let mut prompts = Vec::with_capacity(parts.items.len());
    match parts.join(settings)? {
        Joined::Tokens(items) => {
            for (index, item) in items.iter().enumerate() {
                let path = item_path(index).with_bytes(item.query.len(), item.item.len());
                let tokens = item.read(path.whole(), app.manifest.model.vocab_size)?;
                prompts.push((path, tokens));
            }
        }
        Joined::Texts { texts, query_bytes } => {
            for (index, text) in texts.iter().enumerate() {
                let path = item_path(index).with_bytes(query_bytes, text.len() - query_bytes);
                let tokens = encode(app, text, &path, add_special_tokens)?;
                prompts.push((path, tokens));
            }
        }
    }
    Ok(prompts)
}

/// Encodes the texts of a request before they are joined.
fn encode_parts(parts: &mut Parts, app: &App, add_special_tokens: bool) -> Result<(), ApiError> {
    match &mut parts.query {
        Some(Value::String(query)) if query.is_empty() => parts.query = None,
        Some(query @ Value::String(_)) => {
            let text = query.as_str().unwrap_or_default();
            *query = encode(app, text, &ItemPath::field("query"), add_special_tokens)?.into();
        }
        Some(Value::Array(_)) | None => {}
        Some(other) => return Err(wrong_type("query", "a text or a list of token ids", other)),
    }
    for (index, item) in parts.items.iter_mut().enumerate() {
        let path = format!("items[{index}]");
        match item {
            Value::String(text) => *item = encode(app, text, &ItemPath::field(path), false)?.into(),
            Value::Array(_) => {}
            other => return Err(wrong_type(path, "a text or a list of token ids", other)),
        }
    }
    Ok(())
}

fn encode(app: &App, text: &str, path: &ItemPath, add_special_tokens: bool) -> Result<Vec<u32>, ApiError> {
    let ids = app.encoder()?.encode_completion(text, add_special_tokens);
    ids.map_err(|error| ApiError::on_item(error, path))
}

/// Takes `label_token_ids`: one list for all items, or one for each.
fn labels(fields: &mut Fields, items: usize, vocab_size: usize) -> Result<Vec<Vec<u32>>, ApiError> {
    let list: Vec<Value> = fields.require(LABELS)?;
    if !list.first().is_some_and(Value::is_array) {
        return Ok(vec![token_ids::read(LABELS, &list, vocab_size)?; items]);
    }
    if list.len() != items {
        let reason = format!("has {} lists and `items` has {items}: send one list for each item", list.len());
        return Err(ApiError::invalid(LABELS, reason));
    }
    let mut labels = Vec::with_capacity(items);
    for (index, value) in list.into_iter().enumerate() {
        let path = format!("{LABELS}[{index}]");
        match value {
            Value::Array(ids) => labels.push(token_ids::read(&path, &ids, vocab_size)?),
            other => return Err(wrong_type(path, "a list of token ids", &other)),
        }
    }
    Ok(labels)
}
