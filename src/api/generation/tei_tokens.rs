//! text-embeddings-inference (TEI): its format of `POST /tokenize`, and `POST /decode`.

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::response::Response;
use serde::Serialize;
use serde_json::Value;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::detokenize::{self, IdsOrLists};
use super::text_tokens::{self, OneOrEach};
use crate::api::app::App;
use crate::api::error::ApiError;
use crate::api::fields::Fields;
use crate::api::openapi::Errors;
use crate::api::request::ReceivedRequest;
use crate::prompt::Vocabulary;

pub(super) fn routes() -> OpenApiRouter<Arc<App>> {
    OpenApiRouter::new().routes(routes!(decode))
}

/// Bytes of the shortest token in a response.
const LEAST_JSON: usize = r#"{"id":1,"text":"","special":false,"start":0,"stop":1},"#.len();

/// Token ids of the model.
#[derive(ToSchema)]
#[expect(dead_code, reason = "the schema of what `decoded` reads")]
struct DecodeRequest {
    /// The server's own if absent.
    model: Option<String>,
    ids: IdsOrLists,
    /// Whether special tokens, such as the end of a turn, are left out; true if absent.
    skip_special_tokens: Option<bool>,
}

/// A token of a text.
#[derive(Debug, PartialEq, Serialize, ToSchema)]
pub(super) struct TextToken {
    id: u32,
    text: String,
    /// Whether it is a marker, such as the end of a turn, rather than text.
    special: bool,
    /// Where it starts in the text, in bytes; null for a special token, and where the tokenizer changed the text.
    start: Option<usize>,
    /// Where it ends.
    stop: Option<usize>,
}

/// Makes text of `ids`.
#[utoipa::path(
    post,
    path = "/decode",
    tag = "text",
    request_body(content = DecodeRequest, example = json!({"ids": [72, 101, 108, 108, 111]})),
    responses((status = 200, body = Vec<String>), Errors),
)]
async fn decode(State(app): State<Arc<App>>, request: Request) -> Result<Response, ApiError> {
    let reader = ReceivedRequest::read(&app, request).await?;
    reader.respond_with_list(&app, |app, body| Ok(("ids", decoded(app, &body.bytes)?))).await
}

fn decoded(app: &App, body: &[u8]) -> Result<Vec<String>, ApiError> {
    let mut fields = Fields::parse(body)?;
    app.model(fields.take::<String>("model")?.as_deref())?;
    let skip_special = fields.take("skip_special_tokens")?.unwrap_or(true);
    let ids: Vec<Value> = fields.require("ids")?;
    fields.take_neutral()?;
    fields.end("this route knows no such field; leave it out")?;
    Ok(match detokenize::texts(app, "ids", ids, skip_special)? {
        OneOrEach::One(text) => vec![text],
        OneOrEach::Each(texts) => texts,
    })
}

/// The tokens of `inputs`, which is a text or a list of texts.
///
/// # Errors
/// It is something else.
pub(super) fn tokens(
    app: &App,
    inputs: &Value,
    add_special_tokens: bool,
) -> Result<Vec<Vec<TextToken>>, ApiError> {
    let texts: Vec<&str> = match inputs {
        Value::String(text) => vec![text],
        Value::Array(list) => list.iter().filter_map(Value::as_str).collect(),
        // What is wrong with it is said below.
        _ => Vec::new(),
    };
    let lists = match text_tokens::prompt_tokens(app, "inputs", inputs, add_special_tokens)? {
        OneOrEach::One(ids) => vec![ids],
        OneOrEach::Each(lists) => lists,
    };
    // Before they are made, in far more memory than their ids.
    app.check_list("inputs", lists.iter().map(Vec::len).sum::<usize>() * LEAST_JSON)?;
    let vocabulary = app.encoder()?.vocabulary();
    Ok(texts.iter().zip(lists).map(|(text, ids)| located(text, &ids, &vocabulary)).collect())
}

/// Finds each token in the text. A tokenizer may write a space before a text, or other characters in place of some; from
/// the first token that the text does not have, no place is known.
fn located(text: &str, ids: &[u32], vocabulary: &Vocabulary) -> Vec<TextToken> {
    let mut rest = Some(text.as_bytes());
    let mut tokens = Vec::with_capacity(ids.len());
    for &id in ids {
        let (bytes, special) = (vocabulary.bytes(id), vocabulary.is_special(id));
        let spelled = String::from_utf8_lossy(bytes).into_owned();
        let mut token = TextToken { id, text: spelled, special, start: None, stop: None };
        if let Some(after) = rest.and_then(|rest| after_token(rest, bytes, rest.len() == text.len())) {
            if !special {
                token.start = rest.map(|rest| text.len() - rest.len());
                token.stop = Some(text.len() - after.len());
            }
            rest = Some(after);
        } else if !special {
            rest = None;
        }
        tokens.push(token);
    }
    tokens
}

/// What follows a token at the start of `rest`. At the start of the text its first space may be the tokenizer's.
fn after_token<'t>(rest: &'t [u8], token: &[u8], at_start: bool) -> Option<&'t [u8]> {
    let without_space = || token.strip_prefix(b" ").filter(|_| at_start);
    rest.strip_prefix(token).or_else(|| rest.strip_prefix(without_space()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_found_after_the_space_of_the_tokenizer_and_nothing_after_another_text() {
        assert_eq!(after_token(b"ab", b" a", true), Some(&b"b"[..]));
        assert_eq!(after_token(b" ab", b" a", true), Some(&b"b"[..]));
        assert_eq!(after_token(b"ab", b" a", false), None);
        assert_eq!(after_token(b"ab", b"b", true), None);
    }
}
