//! `POST /v1/embeddings`: a reward where SGLang puts one, at the end of an embedding.

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::response::Response;
use serde::Serialize;
use utoipa::ToSchema;

use super::text::{messages_or_input, truncate_prompt_tokens};
use super::{Call, Unknown, Usage, score, values};
use crate::api::fields::Fields;
use crate::api::openapi::{Errors, requests};
use crate::api::{ApiError, App};
use crate::config::ServerSettings;
use crate::serving::Scored;

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
    /// f32, little-endian, in base 64: what OpenAI's client asks for unless told otherwise.
    Base64(String),
}

/// Scores texts, or a conversation; each text's scores, in the model's order, are its embedding.
#[utoipa::path(post, path = "/v1/embeddings", tag = "trainers and compat", request_body = requests::EmbeddingsRequest, responses((status = 200, body = Embeddings), Errors))]
pub(super) async fn embeddings(State(app): State<Arc<App>>, request: Request) -> Result<Response, ApiError> {
    let answer = score(&app, request, Unknown::Refused, read).await?;
    let in_base64 = answer.shape;
    let embedding = |(index, scored): (usize, &Scored)| Embedding {
        object: "embedding",
        embedding: if in_base64 { Numbers::Base64(packed(scored)) } else { Numbers::Floats(values(scored)) },
        index,
    };
    let data = answer.scored.iter().enumerate().map(embedding).collect();
    Ok(answer.respond(Embeddings { object: "list", data, model: answer.model.name, usage: answer.usage() }))
}

fn read(fields: &mut Fields, settings: &ServerSettings) -> Result<Call<bool>, ApiError> {
    let texts = messages_or_input(fields, settings)?;
    let format = fields.take_one_of("encoding_format", &["float", "base64"])?;
    let length = truncate_prompt_tokens(fields)?;
    Ok(Call { texts, shape: format == Some("base64"), activation: None, length })
}

fn packed(scored: &Scored) -> String {
    base64(&scored.scores.pairs.iter().flat_map(|(_, score)| score.to_le_bytes()).collect::<Vec<_>>())
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
