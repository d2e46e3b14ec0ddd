//! `POST /v1/ranking`: the route of NVIDIA's reranking NIMs, and the path of their hosted service.

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::response::Response;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::inputs::{Input, InputText, PartLimits};
use super::ranking::DocumentSchema;
use super::ranking::{document, keep, query, top};
use super::scoring::SharedSchema;
use super::scoring::{CompatRequest, UnknownFields, score};
use crate::api::app::App;
use crate::api::error::ApiError;
use crate::api::fields::Fields;
use crate::api::item_path::ItemPath;
use crate::api::middleware::limits::{check_and_reserve, check_count};
use crate::api::openapi::Errors;
use crate::api::wire::Usage;
use crate::config::ServerSettings;
use crate::prompt::Truncation;
use crate::serving::LengthPolicy;

pub(super) fn routes() -> OpenApiRouter<Arc<App>> {
    OpenApiRouter::new().routes(routes!(ranking)).routes(routes!(hosted_ranking))
}

/// A prompt and the passages to rank, which are responses to it.
#[derive(ToSchema)]
#[expect(dead_code, reason = "the schema of what `read` reads")]
struct RankingRequest {
    query: DocumentSchema,
    #[schema(min_items = 1)]
    passages: Vec<DocumentSchema>,
    truncate: Option<Truncate>,
    /// Most results; all if absent or 0.
    #[schema(minimum = 0)]
    top_k: Option<i64>,
    #[serde(flatten)]
    shared: SharedSchema,
}

#[derive(Deserialize, ToSchema)]
#[serde(rename_all = "UPPERCASE")]
enum Truncate {
    /// A passage that is too long is an error.
    None,
    /// Its start is cut off.
    Start,
    /// Its end is cut off.
    End,
}

#[derive(Debug, Serialize, ToSchema)]
struct Rankings {
    rankings: Vec<PassageRank>,
    usage: Usage,
}

#[derive(Debug, Serialize, ToSchema)]
struct PassageRank {
    index: usize,
    logit: f64,
}

/// Scores every passage and puts the best first.
#[utoipa::path(
    post,
    path = "/v1/ranking",
    tag = "compatibility",
    request_body(content = RankingRequest, example = json!({
        "model": "demo", "query": {"text": "Hello"}, "passages": [{"text": "Good day"}, {"text": "Go away"}],
        "truncate": "END"
    })),
    responses((status = 200, body = Rankings), Errors),
)]
async fn ranking(State(app): State<Arc<App>>, request: Request) -> Result<Response, ApiError> {
    let texts = score(&app, request, UnknownFields::Refuse, read).await?;
    let mut rankings = Vec::new();
    for (index, logit) in keep(texts.ranked()?, texts.shape) {
        rankings.push(PassageRank { index, logit });
    }
    Ok(texts.respond(Rankings { rankings, usage: texts.usage() }))
}

/// The same as at `/v1/ranking`, at the path that NVIDIA's hosted service has for a model:
/// `/v1/retrieval/MODEL/reranking`.
#[utoipa::path(
    post,
    path = "/v1/retrieval/{*name}",
    tag = "compatibility",
    params(("name" = String, Path)),
    request_body(content = RankingRequest, example = json!({
        "model": "demo", "query": {"text": "Hello"}, "passages": [{"text": "Good day"}, {"text": "Go away"}]
    })),
    responses((status = 200, body = Rankings), Errors),
)]
async fn hosted_ranking(state: State<Arc<App>>, request: Request) -> Result<Response, ApiError> {
    ranking(state, request).await
}

/// Reads a request, and how many results it wants.
fn read(fields: &mut Fields, settings: &ServerSettings) -> Result<CompatRequest<usize>, ApiError> {
    let query = query(fields)?;
    let list: Vec<Value> = fields.require("passages")?;
    check_count("passages", list.len(), settings)?;
    let mut passages = Vec::with_capacity(list.len());
    for (index, value) in list.into_iter().enumerate() {
        passages.push(document(&format!("passages[{index}]"), value)?);
    }
    check_and_reserve("passages", query.len(), passages.iter().map(String::len), settings)?;
    let truncation = match fields.take_one_of("truncate", &["NONE", "START", "END"])? {
        Some("START") => Some(Truncation::Left),
        Some("END") => Some(Truncation::Right),
        Some(_) => Some(Truncation::Error),
        None => None,
    };
    let mut inputs = Vec::with_capacity(passages.len());
    for (index, passage) in passages.into_iter().enumerate() {
        let text = InputText::Answer(query.clone(), passage, PartLimits::default());
        let path = ItemPath::pair("query", format!("passages[{index}]"));
        inputs.push(Input { text, path });
    }
    let length = truncation.map(|truncation| ("truncate", LengthPolicy { truncation, tokens: None }));
    let top = top(fields, "top_k")?;
    Ok(CompatRequest { length, ..CompatRequest::new(inputs, top) })
}
