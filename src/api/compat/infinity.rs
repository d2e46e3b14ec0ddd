//! Infinity's `POST /rerank`, `POST /classify`, `GET /models` and `GET /health`, under the prefix `/infinity`: the
//! requests look like those of other servers, but the responses differ.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::inputs::{Input, InputText, PartLimits, strings};
use super::ranking::DocumentsSchema;
use super::ranking::{RankingShape, conversations, documents, keep};
use super::scoring::SharedSchema;
use super::scoring::{CompatRequest, ScoredTexts, UnknownFields, score};
use super::tei::{self, Prediction, predictions};
use crate::api::app::App;
use crate::api::error::ApiError;
use crate::api::fields::Fields;
use crate::api::openapi::Errors;
use crate::api::wire::{Usage, new_id, unix_time};
use crate::config::ServerSettings;

/// The route that asks for no key.
pub(super) fn open_routes() -> OpenApiRouter<Arc<App>> {
    OpenApiRouter::new().routes(routes!(health))
}

pub(super) fn routes() -> OpenApiRouter<Arc<App>> {
    OpenApiRouter::new().routes(routes!(rerank)).routes(routes!(classify)).routes(routes!(models))
}

/// A prompt and the responses to rank.
#[derive(ToSchema)]
#[schema(as = InfinityRerankRequest)]
#[expect(dead_code, reason = "the schema of what `read_rerank` reads")]
struct RerankRequest {
    query: String,
    documents: DocumentsSchema,
    /// Whether the documents are sent back; false if absent.
    return_documents: Option<bool>,
    /// `false` asks for probabilities.
    raw_scores: Option<bool>,
    #[schema(minimum = 0)]
    top_n: Option<i64>,
    #[serde(flatten)]
    shared: SharedSchema,
}

/// Texts with the chat template applied.
#[derive(ToSchema)]
#[schema(as = InfinityClassifyRequest)]
#[expect(dead_code, reason = "the schema of what `read_classify` reads")]
struct ClassifyRequest {
    #[schema(min_items = 1)]
    input: Vec<String>,
    /// `false` asks for probabilities.
    raw_scores: Option<bool>,
    #[serde(flatten)]
    shared: SharedSchema,
}

#[derive(Debug, Serialize, ToSchema)]
#[schema(as = InfinityRanking)]
struct Ranking<'a> {
    object: &'static str,
    id: String,
    created: u64,
    model: &'a str,
    results: Vec<Ranked>,
    usage: Usage,
}

#[derive(Debug, Serialize, ToSchema)]
#[schema(as = InfinityRanked)]
struct Ranked {
    relevance_score: f64,
    index: usize,
    document: Option<String>,
}

#[derive(Debug, Serialize, ToSchema)]
#[schema(as = InfinityClasses)]
struct Classes<'a> {
    object: &'static str,
    id: String,
    created: u64,
    model: &'a str,
    /// Each text's scores, the highest first.
    data: Vec<Vec<Prediction>>,
    usage: Usage,
}

#[derive(Debug, Serialize, ToSchema)]
#[schema(as = InfinityModels)]
struct ModelList<'a> {
    object: &'static str,
    data: Vec<ModelInfo<'a>>,
}

#[derive(Debug, Serialize, ToSchema)]
#[schema(as = InfinityModel)]
struct ModelInfo<'a> {
    id: &'a str,
    stats: Stats,
    object: &'static str,
    /// Infinity's client takes no other owner.
    owned_by: &'static str,
    created: u64,
    backend: &'static str,
    capabilities: &'static [&'static str],
}

#[derive(Debug, Serialize, ToSchema)]
#[schema(as = InfinityStats)]
struct Stats {
    /// How full the queue is, from 0 to 1.
    queue_fraction: f64,
    queue_absolute: i64,
    results_pending: i64,
    batch_size: usize,
}

#[derive(Debug, Serialize, ToSchema)]
#[schema(as = InfinityHealth)]
struct Health {
    /// The time, in seconds since 1970.
    unix: u64,
}

/// The same as at `/health`, with the body that Infinity's client reads.
#[utoipa::path(
    get,
    path = "/infinity/health",
    tag = "service",
    responses((status = 200, body = Health), (status = 503, body = Health)),
)]
async fn health(State(app): State<Arc<App>>) -> (StatusCode, Json<Health>) {
    let status = if app.ready() { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (status, Json(Health { unix: unix_time() }))
}

/// The names of the model, in Infinity's format.
#[utoipa::path(
    get,
    path = "/infinity/models",
    tag = "compatibility",
    responses((status = 200, body = ModelList), Errors),
)]
async fn models(State(app): State<Arc<App>>) -> Response {
    let load = app.metrics.load();
    let capabilities: &[&str] = if app.scorer().is_ok() { &["classify", "rerank"] } else { &[] };
    let mut data = Vec::with_capacity(app.models.len());
    for id in &app.models {
        let stats = Stats {
            queue_fraction: (load as f64 / app.settings.scheduling.max_queue_requests as f64).min(1.0),
            queue_absolute: load,
            results_pending: load,
            batch_size: app.manifest.limits.max_batch_size,
        };
        data.push(ModelInfo {
            id,
            stats,
            object: "model",
            owned_by: "infinity",
            created: app.started,
            backend: "assay",
            capabilities,
        });
    }
    Json(ModelList { object: "list", data }).into_response()
}

/// Scores every response and puts the best first, in Infinity's format.
#[utoipa::path(
    post,
    path = "/infinity/rerank",
    tag = "compatibility",
    request_body(content = RerankRequest, example = json!({
        "query": "Hello", "documents": ["Good day", "Go away"], "return_documents": true, "raw_scores": true
    })),
    responses((status = 200, body = Ranking), Errors),
)]
async fn rerank(State(app): State<Arc<App>>, request: Request) -> Result<Response, ApiError> {
    let mut texts = score(&app, request, UnknownFields::Refuse, read_rerank).await?;
    let mut results = Vec::new();
    for (index, relevance_score) in keep(texts.ranked()?, texts.shape.top) {
        results.push(Ranked { relevance_score, index, document: texts.shape.take_document(index) });
    }
    let (id, created) = (new_id("infinity"), unix_time());
    let (model, usage) = (texts.model.name, texts.usage());
    Ok(texts.respond(Ranking { object: "rerank", id, created, model, results, usage }))
}

/// Scores texts, in Infinity's format.
#[utoipa::path(
    post,
    path = "/infinity/classify",
    tag = "compatibility",
    request_body(content = ClassifyRequest, example = json!({
        "input": ["<|start_header_id|>user<|end_header_id|>\n\nHello<|eot_id|>"], "raw_scores": true
    })),
    responses((status = 200, body = Classes), Errors),
)]
async fn classify(State(app): State<Arc<App>>, request: Request) -> Result<Response, ApiError> {
    let texts: ScoredTexts<'_, ()> = score(&app, request, UnknownFields::Refuse, read_classify).await?;
    let data = texts.scored.iter().map(|scored| predictions(&texts.answered(scored).scores)).collect();
    let (id, created) = (new_id("infinity"), unix_time());
    let (model, usage) = (texts.model.name, texts.usage());
    Ok(texts.respond(Classes { object: "classify", id, created, model, data, usage }))
}

fn read_rerank(
    fields: &mut Fields,
    settings: &ServerSettings,
) -> Result<CompatRequest<RankingShape>, ApiError> {
    let query: String = fields.require("query")?;
    let documents = documents(fields, settings)?;
    let inputs = conversations(&query, "documents", &documents, PartLimits::default(), settings)?;
    let shape = RankingShape::take(fields, ("return_documents", false), documents)?;
    let activation = tei::raw_scores(fields)?;
    Ok(CompatRequest { activation, ..CompatRequest::new(inputs, shape) })
}

fn read_classify(fields: &mut Fields, settings: &ServerSettings) -> Result<CompatRequest<()>, ApiError> {
    let mut inputs = Vec::new();
    for (index, text) in strings(fields, "input", settings)?.into_iter().enumerate() {
        inputs.push(Input::at(format!("input[{index}]"), InputText::Templated(text)));
    }
    let activation = tei::raw_scores(fields)?;
    Ok(CompatRequest { activation, ..CompatRequest::new(inputs, ()) })
}
