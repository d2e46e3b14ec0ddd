//! `POST /v1/embeddings`: the format of OpenAI's embeddings, in which vLLM and SGLang answer with rewards.

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::response::Response;
use serde::Serialize;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::encoding::{EmbedDtype, Encoding, EncodingFormat, Endianness, Numbers, Written};
use super::inputs::{InputSchema, messages_or_input};
use super::scoring::SharedSchema;
use super::scoring::{CompatRequest, UnknownFields, score};
use super::vllm::ActivationSchema;
use super::vllm::{List, activation};
use crate::api::app::App;
use crate::api::error::ApiError;
use crate::api::fields::Fields;
use crate::api::messages::PromptEndSchema;
use crate::api::messages::Turn;
use crate::api::openapi::Errors;
use crate::config::ServerSettings;

pub(super) fn routes() -> OpenApiRouter<Arc<App>> {
    OpenApiRouter::new().routes(routes!(embeddings))
}

/// `messages`, or `input`.
#[derive(ToSchema)]
#[expect(dead_code, reason = "the schema of what `read` reads")]
struct EmbeddingsRequest {
    input: Option<InputSchema>,
    #[schema(min_items = 1)]
    messages: Option<Vec<Turn>>,
    /// As many as the model has scores.
    dimensions: Option<i64>,
    #[serde(flatten)]
    activation: ActivationSchema,
    encoding_format: Option<EncodingFormat>,
    embed_dtype: Option<EmbedDtype>,
    endianness: Option<Endianness>,
    /// Whether the tokens that every text of the model has are added to `input` where it lacks them.
    add_special_tokens: Option<bool>,
    #[serde(flatten)]
    prompt_end: PromptEndSchema,
    #[serde(flatten)]
    shared: SharedSchema,
}

struct EmbeddingsShape {
    encoding: Encoding,
    dimensions: Option<i64>,
}

#[derive(Debug, Serialize, ToSchema)]
struct Embedding {
    index: usize,
    object: &'static str,
    /// A text's scores, in the model's order.
    embedding: Written,
}

impl Embedding {
    fn new(index: usize, embedding: Written) -> Self {
        Self { index, object: "embedding", embedding }
    }
}

/// Scores texts, or a conversation; each text's scores, in the model's order, are its embedding.
#[utoipa::path(
    post,
    path = "/v1/embeddings",
    tag = "compatibility",
    request_body(content = EmbeddingsRequest, example = json!({
        "model": "demo",
        "input": ["<|start_header_id|>user<|end_header_id|>\n\nHello<|eot_id|>"]
    })),
    responses((status = 200, body = List<Embedding>), Errors),
)]
async fn embeddings(State(app): State<Arc<App>>, request: Request) -> Result<Response, ApiError> {
    let texts = score(&app, request, UnknownFields::Refuse, read).await?;
    let EmbeddingsShape { encoding, dimensions } = texts.shape;
    let mut numbers = Vec::with_capacity(texts.scored.len());
    for scored in &texts.scored {
        let row: Vec<f32> = texts.answered(scored).scores.pairs.iter().map(|(_, score)| *score).collect();
        if dimensions.is_some_and(|dimensions| usize::try_from(dimensions) != Ok(row.len())) {
            let reason =
                format!("this model has {} scores, and all of them are returned; leave it out", row.len());
            return Err(ApiError::unsupported("dimensions", reason));
        }
        numbers.push(Numbers::Row(row));
    }
    encoding.respond("embd", &texts, &numbers, Embedding::new)
}

fn read(fields: &mut Fields, settings: &ServerSettings) -> Result<CompatRequest<EmbeddingsShape>, ApiError> {
    let inputs = messages_or_input(fields, settings)?;
    // SGLang, whose format of a reward this is, gives raw scores.
    let activation = activation(fields)?.or_raw();
    let shape = EmbeddingsShape { encoding: Encoding::take(fields)?, dimensions: fields.take("dimensions")? };
    Ok(CompatRequest { activation, ..CompatRequest::new(inputs, shape) })
}
