//! `POST /classify` and `POST /pooling`: vLLM's routes, which verl and others use.

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::response::Response;
use serde::Serialize;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::inputs::{InputSchema, messages_or_input};
use super::scoring::{CompatRequest, ScoredTexts, UnknownFields, score, values};
use crate::api::app::App;
use crate::api::error::ApiError;
use crate::api::fields::Fields;
use crate::api::messages::Turn;
use crate::api::openapi::Errors;
use crate::api::wire::{Usage, new_id, unix_time};
use crate::config::ServerSettings;
use crate::prompt::Truncation;

pub(super) fn routes() -> OpenApiRouter<Arc<App>> {
    OpenApiRouter::new().routes(routes!(classify)).routes(routes!(pooling))
}

/// `messages`, or `input`.
#[derive(ToSchema)]
#[expect(dead_code, reason = "the schema of what `read` reads")]
struct PoolingRequest {
    model: Option<String>,
    input: Option<InputSchema>,
    #[schema(min_items = 1)]
    messages: Option<Vec<Turn>>,
    /// Whether probabilities are wanted instead of logits.
    use_activation: Option<bool>,
    /// Tokens to keep of a text's end; -1 for as many as the engine takes.
    #[schema(minimum = -1)]
    truncate_prompt_tokens: Option<i64>,
    truncation: Option<Truncation>,
}

#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Pool)]
struct List<'a, T> {
    id: String,
    object: &'static str,
    created: u64,
    model: &'a str,
    data: Vec<T>,
    usage: Usage,
}

#[derive(Debug, Serialize, ToSchema)]
struct Class {
    index: usize,
    /// The attribute of the largest score.
    label: Option<String>,
    /// Scores in the model's order: logits, unless probabilities are asked for.
    probs: Vec<f64>,
    num_classes: usize,
}

#[derive(Debug, Serialize, ToSchema)]
struct Pooled {
    index: usize,
    object: &'static str,
    data: PooledData,
}

#[derive(Debug, Serialize, ToSchema)]
#[serde(untagged)]
enum PooledData {
    /// A text's scores.
    Scores(Vec<f64>),
    /// For each step, the probabilities that it is wrong and that it is right.
    Steps(Vec<[f64; 2]>),
}

/// Scores texts, or a conversation.
#[utoipa::path(
    post,
    path = "/classify",
    tag = "compatibility",
    request_body(content = PoolingRequest, example = json!({
        "model": "demo",
        "input": "<|start_header_id|>user<|end_header_id|>\n\nHello<|eot_id|>",
        "use_activation": false
    })),
    responses((status = 200, body = List<Class>), Errors),
)]
async fn classify(State(app): State<Arc<App>>, request: Request) -> Result<Response, ApiError> {
    let texts = score(&app, request, UnknownFields::Refuse, read).await?;
    let mut data = Vec::with_capacity(texts.scored.len());
    for (index, scored) in texts.scored.iter().enumerate() {
        let probs = values(scored);
        let largest = scored.scores.pairs.iter().max_by(|a, b| a.1.total_cmp(&b.1));
        let label = largest.map(|(name, _)| name.clone());
        data.push(Class { index, label, num_classes: probs.len(), probs });
    }
    Ok(texts.respond(list("classify", data, &texts)))
}

/// Scores texts, or a conversation, in the form of vLLM's poolers.
#[utoipa::path(
    post,
    path = "/pooling",
    tag = "compatibility",
    request_body(content = PoolingRequest, example = json!({
        "model": "demo",
        "messages": [{"role": "user", "content": "Hello"}, {"role": "assistant", "content": "Good day"}]
    })),
    responses((status = 200, body = List<Pooled>), Errors),
)]
async fn pooling(State(app): State<Arc<App>>, request: Request) -> Result<Response, ApiError> {
    let texts = score(&app, request, UnknownFields::Refuse, read).await?;
    let mut data = Vec::with_capacity(texts.scored.len());
    for (index, scored) in texts.scored.iter().enumerate() {
        let scores = values(scored);
        let scores = if texts.head.scores_steps() {
            PooledData::Steps(scores.into_iter().map(|right| [1.0 - right, right]).collect())
        } else {
            PooledData::Scores(scores)
        };
        data.push(Pooled { index, object: "pooling", data: scores });
    }
    Ok(texts.respond(list("pool", data, &texts)))
}

fn list<'a, T>(prefix: &str, data: Vec<T>, texts: &ScoredTexts<'a, ()>) -> List<'a, T> {
    List {
        id: new_id(prefix),
        object: "list",
        created: unix_time(),
        model: texts.model.name,
        data,
        usage: texts.usage(),
    }
}

fn read(fields: &mut Fields, settings: &ServerSettings) -> Result<CompatRequest<()>, ApiError> {
    let inputs = messages_or_input(fields, settings)?;
    let mut activation = None;
    // The second and third are older names of the first.
    for name in ["use_activation", "activation", "softmax"] {
        if fields.take::<bool>(name)? == Some(true) {
            activation = Some(name);
        }
    }
    fields.take_one_of("encoding_format", &["float"])?;
    fields.take_one_of("task", &["classify", "token_classify", "reward", "score"])?;
    Ok(CompatRequest { activation, ..CompatRequest::new(inputs, ()) })
}
