//! SGLang's `POST /v1/rerank`, under the prefix `/sglang`: its request looks like Cohere's, and its response is a
//! bare list.

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::response::Response;
use serde::Serialize;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::ranking::{DocumentSchema, DocumentsSchema};
use super::ranking::{RankingShape, conversations, documents, keep, query};
use super::scoring::SharedSchema;
use super::scoring::{CompatRequest, UnknownFields, score};
use super::vllm::{ActivationSchema, PairSchema};
use super::vllm::{activation, take_pair_fields};
use crate::api::app::App;
use crate::api::error::ApiError;
use crate::api::fields::Fields;
use crate::api::openapi::Errors;
use crate::config::ServerSettings;

pub(super) fn routes() -> OpenApiRouter<Arc<App>> {
    OpenApiRouter::new().routes(routes!(rerank))
}

/// A prompt and the responses to rank.
#[derive(ToSchema)]
#[schema(as = SglangRerankRequest)]
#[expect(dead_code, reason = "the schema of what `read` reads")]
struct RerankRequest {
    query: DocumentSchema,
    documents: DocumentsSchema,
    #[schema(minimum = 0)]
    top_n: Option<i64>,
    /// Whether the documents are sent back; true if absent.
    return_documents: Option<bool>,
    #[serde(flatten)]
    pair: PairSchema,
    #[serde(flatten)]
    activation: ActivationSchema,
    #[serde(flatten)]
    shared: SharedSchema,
}

#[derive(Debug, Serialize, ToSchema)]
#[schema(as = SglangRanked)]
struct Ranked {
    score: f64,
    #[serde(skip_serializing_if = "Option::is_none")]
    document: Option<String>,
    index: usize,
    meta_info: MetaInfo,
}

#[derive(Debug, Serialize, ToSchema)]
#[schema(as = SglangRankedMeta)]
struct MetaInfo {
    prompt_tokens: usize,
    cached_tokens: usize,
}

/// Scores every response and puts the best first, in SGLang's format.
#[utoipa::path(
    post,
    path = "/sglang/v1/rerank",
    tag = "compatibility",
    request_body(
        content = RerankRequest,
        example = json!({"query": "Hello", "documents": ["Good day", "Go away"]}),
    ),
    responses((status = 200, body = [Ranked]), Errors),
)]
async fn rerank(State(app): State<Arc<App>>, request: Request) -> Result<Response, ApiError> {
    let mut texts = score(&app, request, UnknownFields::Refuse, read).await?;
    let mut ranked = Vec::new();
    for (index, score) in keep(texts.ranked()?, texts.shape.top) {
        let document = texts.shape.take_document(index);
        let scored = &texts.scored[index];
        let meta_info = MetaInfo { prompt_tokens: scored.prompt_tokens, cached_tokens: scored.cached_tokens };
        ranked.push(Ranked { score, document, index, meta_info });
    }
    Ok(texts.respond(ranked))
}

fn read(fields: &mut Fields, settings: &ServerSettings) -> Result<CompatRequest<RankingShape>, ApiError> {
    let query = query(fields)?;
    let documents = documents(fields, settings)?;
    let limits = take_pair_fields(fields)?;
    let inputs = conversations(&query, "documents", &documents, limits, settings)?;
    let shape = RankingShape::take(fields, ("return_documents", true), documents)?;
    let activation = activation(fields)?;
    Ok(CompatRequest { activation, ..CompatRequest::new(inputs, shape) })
}
