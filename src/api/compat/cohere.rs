//! `POST /rerank`, `/v1/rerank` and `/v2/rerank`: responses to one prompt, the best first. With `documents` they have the
//! format of Cohere, Jina and vLLM, with `texts` that of text-embeddings-inference.

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::response::Response;
use serde::Serialize;
use serde_json::Value;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::inputs::{PartLimits, strings};
use super::ranking::{DocumentSchema, DocumentsSchema};
use super::ranking::{RankingShape, conversations, documents, keep, query};
use super::scoring::SharedSchema;
use super::scoring::{CompatRequest, UnknownFields, score};
use super::tei::TeiSchema;
use super::tei::{self, Rank};
use super::vllm::{ActivationSchema, PairSchema};
use super::vllm::{activation, take_pair_fields};
use crate::api::app::App;
use crate::api::error::ApiError;
use crate::api::fields::Fields;
use crate::api::openapi::Errors;
use crate::api::wire::{Usage, new_id};
use crate::config::ServerSettings;

pub(super) fn routes() -> OpenApiRouter<Arc<App>> {
    OpenApiRouter::new().routes(routes!(rerank)).routes(routes!(rerank_v1)).routes(routes!(rerank_v2))
}

/// A prompt and the responses to rank, as `documents` or as `texts`, with the other fields of the clients that use this
/// name.
#[derive(ToSchema)]
#[expect(dead_code, reason = "the schema of what `read` reads")]
struct RerankRequest {
    query: DocumentSchema,
    documents: Option<DocumentsSchema>,
    #[schema(min_items = 1)]
    texts: Option<Vec<String>>,
    /// Maximum number of results; 0 for all.
    #[schema(minimum = 0)]
    top_n: Option<i64>,
    /// Whether `documents` are sent back; true if absent.
    return_documents: Option<bool>,
    /// Whether `texts` are sent back; false if absent.
    return_text: Option<bool>,
    /// With `documents`: fields of a document to read; only `text` is possible.
    rank_fields: Option<Vec<String>>,
    /// With `documents`: accepted and ignored, because documents are not split.
    max_chunks_per_doc: Option<i64>,
    #[serde(flatten)]
    pair: PairSchema,
    #[serde(flatten)]
    activation: ActivationSchema,
    #[serde(flatten)]
    tei: TeiSchema,
    #[serde(flatten)]
    shared: SharedSchema,
}

#[derive(Debug, Serialize, ToSchema)]
struct Results<'a> {
    id: String,
    model: &'a str,
    results: Vec<RankedDocument>,
    usage: Usage,
}

#[derive(Debug, Serialize, ToSchema)]
struct RankedDocument {
    index: usize,
    relevance_score: f64,
    #[serde(skip_serializing_if = "Option::is_none")]
    document: Option<Document>,
}

#[derive(Debug, Serialize, ToSchema)]
struct Document {
    text: String,
}

/// The response to `documents`, or to `texts`.
#[derive(Debug, Serialize, ToSchema)]
#[serde(untagged)]
enum Ranking<'a> {
    Documents(Results<'a>),
    Texts(Vec<Rank>),
}

/// Whose format the request has, which the name of the list shows.
#[derive(Clone, Copy)]
enum Client {
    /// `documents`.
    Cohere,
    /// `texts`.
    Tei,
}

struct RerankShape {
    client: Client,
    ranking: RankingShape,
}

/// Scores every response and puts the best first; equal ones keep their order.
#[utoipa::path(
    post,
    path = "/rerank",
    tag = "compatibility",
    request_body(
        content = RerankRequest,
        example = json!({"query": "Hello", "documents": ["Good day", "Go away"], "top_n": 1}),
    ),
    responses((status = 200, body = Ranking), Errors),
)]
pub(in crate::api) async fn rerank(
    State(app): State<Arc<App>>,
    request: Request,
) -> Result<Response, ApiError> {
    let mut scored = score(&app, request, UnknownFields::Refuse, read).await?;
    let order = keep(scored.ranked()?, scored.shape.ranking.top);
    let shape = &mut scored.shape.ranking;
    let ranking = match scored.shape.client {
        Client::Tei => {
            let mut ranks = Vec::with_capacity(order.len());
            for (index, score) in order {
                ranks.push(Rank { index, score, text: shape.take_document(index) });
            }
            Ranking::Texts(ranks)
        }
        Client::Cohere => {
            let mut results = Vec::with_capacity(order.len());
            for (index, relevance_score) in order {
                let document = shape.take_document(index).map(|text| Document { text });
                results.push(RankedDocument { index, relevance_score, document });
            }
            let (id, model, usage) = (new_id("rerank"), scored.model.name, scored.usage());
            Ranking::Documents(Results { id, model, results, usage })
        }
    };
    Ok(scored.respond(ranking))
}

/// The same as at `/rerank`.
#[utoipa::path(
    post,
    path = "/v1/rerank",
    tag = "compatibility",
    request_body(
        content = RerankRequest,
        example = json!({"query": "Hello", "texts": ["Good day", "Go away"], "return_text": true}),
    ),
    responses((status = 200, body = Ranking), Errors),
)]
async fn rerank_v1(state: State<Arc<App>>, request: Request) -> Result<Response, ApiError> {
    rerank(state, request).await
}

/// The same as at `/rerank`.
#[utoipa::path(
    post,
    path = "/v2/rerank",
    tag = "compatibility",
    request_body(
        content = RerankRequest,
        example = json!({"model": "demo", "query": "Hello", "documents": ["Good day", "Go away"]}),
    ),
    responses((status = 200, body = Ranking), Errors),
)]
async fn rerank_v2(state: State<Arc<App>>, request: Request) -> Result<Response, ApiError> {
    rerank(state, request).await
}

fn read(fields: &mut Fields, settings: &ServerSettings) -> Result<CompatRequest<RerankShape>, ApiError> {
    let query = query(fields)?;
    if !fields.has("documents") && !fields.has("texts") {
        return Err(fields.missing("documents", "a list of texts, which are the responses to `query`"));
    }
    if fields.has("texts") {
        let texts = strings(fields, "texts", settings)?;
        let inputs = conversations(&query, "texts", &texts, PartLimits::default(), settings)?;
        let ranking = RankingShape::take(fields, ("return_text", false), texts)?;
        let shape = RerankShape { client: Client::Tei, ranking };
        let (activation, length) = (tei::raw_scores(fields)?, tei::truncate(fields)?);
        return Ok(CompatRequest { activation, length, ..CompatRequest::new(inputs, shape) });
    }
    let documents = documents(fields, settings)?;
    let limits = take_pair_fields(fields)?;
    let inputs = conversations(&query, "documents", &documents, limits, settings)?;
    let ranking = RankingShape::take(fields, ("return_documents", true), documents)?;
    let shape = RerankShape { client: Client::Cohere, ranking };
    let activation = activation(fields)?;
    rank_fields(fields)?;
    Ok(CompatRequest { activation, ..CompatRequest::new(inputs, shape) })
}

/// Takes Cohere's fields about the parts of a document: `rank_fields`, which may be its text, and
/// `max_chunks_per_doc`, which changes nothing because documents are not split.
fn rank_fields(fields: &mut Fields) -> Result<(), ApiError> {
    fields.take::<i64>("max_chunks_per_doc")?;
    let list = fields.take::<Vec<Value>>("rank_fields")?.unwrap_or_default();
    if list.iter().any(|field| field != "text") {
        return Err(ApiError::unsupported("rank_fields", "only `text` is read of a document; leave it out"));
    }
    Ok(())
}
