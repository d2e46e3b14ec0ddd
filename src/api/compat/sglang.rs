//! `POST /v1/embeddings`: SGLang puts a reward at the end of an embedding.

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::response::Response;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::inputs::{InputSchema, messages_or_input};
use super::scoring::{CompatRequest, UnknownFields, score, values};
use crate::api::app::App;
use crate::api::error::ApiError;
use crate::api::fields::Fields;
use crate::api::messages::Turn;
use crate::api::openapi::Errors;
use crate::api::wire::Usage;
use crate::config::ServerSettings;
use crate::prompt::Truncation;
use crate::serving::Scored;

pub(super) fn routes() -> OpenApiRouter<Arc<App>> {
    OpenApiRouter::new().routes(routes!(embeddings))
}

/// `messages`, or `input`.
#[derive(ToSchema)]
#[expect(dead_code, reason = "the schema of what `read` reads")]
struct EmbeddingsRequest {
    model: Option<String>,
    input: Option<InputSchema>,
    #[schema(min_items = 1)]
    messages: Option<Vec<Turn>>,
    encoding_format: Option<EncodingFormat>,
    /// Tokens to keep of a text's end; -1 for as many as the engine takes.
    #[schema(minimum = -1)]
    truncate_prompt_tokens: Option<i64>,
    truncation: Option<Truncation>,
}

#[derive(Clone, Copy, PartialEq, Eq, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
enum EncodingFormat {
    Float,
    Base64,
}

#[derive(Debug, Serialize, ToSchema)]
struct Embeddings<'a> {
    object: &'static str,
    data: Vec<Embedding>,
    model: &'a str,
    usage: Usage,
}

#[derive(Debug, Serialize, ToSchema)]
struct Embedding {
    object: &'static str,
    embedding: Numbers,
    index: usize,
}

#[derive(Debug, Serialize, ToSchema)]
#[serde(untagged)]
enum Numbers {
    Floats(Vec<f64>),
    /// f32, little-endian, in base 64: what OpenAI's client asks for by default.
    Base64(String),
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
    responses((status = 200, body = Embeddings), Errors),
)]
async fn embeddings(State(app): State<Arc<App>>, request: Request) -> Result<Response, ApiError> {
    let texts = score(&app, request, UnknownFields::Refuse, read).await?;
    let mut data = Vec::with_capacity(texts.scored.len());
    for (index, scored) in texts.scored.iter().enumerate() {
        let embedding = match texts.form {
            EncodingFormat::Float => Numbers::Floats(values(scored)),
            EncodingFormat::Base64 => Numbers::Base64(packed(scored)),
        };
        data.push(Embedding { object: "embedding", embedding, index });
    }
    Ok(texts.respond(Embeddings { object: "list", data, model: texts.model.name, usage: texts.usage() }))
}

fn read(fields: &mut Fields, settings: &ServerSettings) -> Result<CompatRequest<EncodingFormat>, ApiError> {
    let inputs = messages_or_input(fields, settings)?;
    let form = match fields.take_one_of("encoding_format", &["float", "base64"])? {
        Some("base64") => EncodingFormat::Base64,
        _ => EncodingFormat::Float,
    };
    Ok(CompatRequest::new(inputs, form))
}

fn packed(scored: &Scored) -> String {
    let bytes: Vec<u8> = scored.scores.pairs.iter().flat_map(|(_, score)| score.to_le_bytes()).collect();
    base64(&bytes)
}

fn base64(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for chunk in bytes.chunks(3) {
        let word = (0..3).fold(0, |word, at| word << 8 | usize::from(chunk.get(at).copied().unwrap_or(0)));
        for digit in 0..4 {
            let filled = digit <= chunk.len();
            text.push(if filled { DIGITS[word >> (18 - 6 * digit) & 63].into() } else { '=' });
        }
    }
    text
}

#[cfg(test)]
mod tests {
    #[test]
    fn base_64_is_that_of_rfc_4648() {
        let known = ["", "Zg==", "Zm8=", "Zm9v", "Zm9vYg==", "Zm9vYmE=", "Zm9vYmFy"];
        for (length, text) in known.iter().enumerate() {
            assert_eq!(super::base64(&b"foobar"[..length]), *text);
        }
        assert_eq!(super::base64(&[0xfb, 0xff, 0xfe]), "+//+");
    }
}
