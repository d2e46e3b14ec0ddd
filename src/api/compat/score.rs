//! `POST /score` and `POST /v1/score`, which two servers have: with `query` and `items` the request has the format of
//! SGLang, with two lists of texts that of vLLM.

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::response::Response;
use serde::Serialize;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::inputs::TokensSchema;
use super::labels;
use super::scoring::SharedSchema;
use super::scoring::{CompatRequest, UnknownFields, score};
use super::sglang_score::{self, Matrix};
use super::sglang_score::{ItemsSchema, QuerySchema};
use super::vllm::List;
use super::vllm::{ActivationSchema, PairSchema};
use super::vllm_score::{self, PairScore};
use crate::api::app::App;
use crate::api::error::ApiError;
use crate::api::fields::Fields;
use crate::api::openapi::Errors;
use crate::config::ServerSettings;

pub(super) fn routes() -> OpenApiRouter<Arc<App>> {
    OpenApiRouter::new().routes(routes!(score_pairs)).routes(routes!(score_v1))
}

/// vLLM's format: prompts and their responses, under one of four pairs of names. One prompt may have many responses.
/// SGLang's format: `query` and `items`.
#[derive(ToSchema)]
#[schema(as = ScoreRequest)]
#[expect(dead_code, reason = "the schema of what `read` reads")]
struct ScoreSchema {
    text_1: Option<vllm_score::TextsSchema>,
    text_2: Option<vllm_score::TextsSchema>,
    queries: Option<vllm_score::TextsSchema>,
    documents: Option<vllm_score::TextsSchema>,
    data_1: Option<vllm_score::TextsSchema>,
    data_2: Option<vllm_score::TextsSchema>,
    /// The text or the token ids before each item.
    query: Option<QuerySchema>,
    /// With `query`, texts or lists of token ids; with `queries`, the responses to them.
    items: Option<ItemsSchema>,
    /// Tokens whose probabilities after each item are wanted, from a model that generates text.
    label_token_ids: Option<TokensSchema>,
    apply_softmax: Option<bool>,
    /// Whether items come before the query.
    item_first: Option<bool>,
    /// Whether the labels' log-probabilities are answered too.
    return_token_logprobs: Option<bool>,
    /// Divides the labels' log-probabilities before `apply_softmax`.
    #[schema(exclusive_minimum = 0)]
    temperature: Option<f64>,
    /// Whether the tokens that every text of the model has are added.
    add_special_tokens: Option<bool>,
    #[serde(flatten)]
    pair: PairSchema,
    #[serde(flatten)]
    activation: ActivationSchema,
    #[serde(flatten)]
    shared: SharedSchema,
}

/// The response in the format of the request.
#[derive(Debug, Serialize, ToSchema)]
#[serde(untagged)]
enum ScoreResponse<'a> {
    Pairs(List<'a, PairScore>),
    Matrix(Matrix<'a>),
}

/// Whose format the request has.
enum Client {
    Vllm,
    Sglang,
}

/// Scores responses to prompts, or items after a query.
#[utoipa::path(
    post,
    path = "/score",
    tag = "compatibility",
    request_body(
        content = ScoreSchema,
        example = json!({"model": "demo", "text_1": "Hello", "text_2": ["Good day", "Go away"]}),
    ),
    responses((status = 200, body = ScoreResponse), Errors),
)]
async fn score_pairs(State(app): State<Arc<App>>, request: Request) -> Result<Response, ApiError> {
    answer(app, request).await
}

/// The same as at `/score`.
#[utoipa::path(
    post,
    path = "/v1/score",
    tag = "compatibility",
    request_body(content = ScoreSchema, example = json!({
        "query": "<|start_header_id|>user<|end_header_id|>\n\nHello<|eot_id|>",
        "items": ["<|start_header_id|>assistant<|end_header_id|>\n\nGood day<|eot_id|>"]
    })),
    responses((status = 200, body = ScoreResponse), Errors),
)]
async fn score_v1(State(app): State<Arc<App>>, request: Request) -> Result<Response, ApiError> {
    answer(app, request).await
}

/// Answers a request of either format.
///
/// # Errors
/// The request is wrong, or one of its texts has no score.
pub(in crate::api) async fn answer(app: Arc<App>, request: Request) -> Result<Response, ApiError> {
    if app.generator().is_ok() {
        return labels::matrix(app, request).await;
    }
    let texts = score(&app, request, UnknownFields::Refuse, read).await?;
    let answer = match texts.shape {
        Client::Vllm => ScoreResponse::Pairs(vllm_score::pairs(&texts)?),
        Client::Sglang => ScoreResponse::Matrix(sglang_score::matrix(&texts)),
    };
    Ok(texts.respond(answer))
}

fn read(fields: &mut Fields, settings: &ServerSettings) -> Result<CompatRequest<Client>, ApiError> {
    let without_items =
        || fields.has("query") && (fields.resembling("items").is_some() || !vllm_score::is_meant(fields));
    if !fields.has("queries") && (fields.has("items") || without_items()) {
        return sglang_score::read_as(Client::Sglang, fields, settings);
    }
    vllm_score::read_as(Client::Vllm, fields, settings)
}
