//! `POST /detokenize`, in the formats of vLLM and SGLang, for every model.

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::response::Response;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::text_tokens::OneOrEach;
use crate::api::app::App;
use crate::api::error::ApiError;
use crate::api::fields::{Fields, wrong_type};
use crate::api::middleware::limits::check_count;
use crate::api::openapi::Errors;
use crate::api::request::ReceivedRequest;
use crate::api::token_ids;

pub(super) fn routes() -> OpenApiRouter<Arc<App>> {
    OpenApiRouter::new().routes(routes!(detokenize)).routes(routes!(detokenize_v1))
}

/// Token ids of the model.
#[derive(ToSchema)]
#[expect(dead_code, reason = "the schema of what `detokenized` reads")]
struct DetokenizeRequest {
    /// The server's own if absent.
    model: Option<String>,
    tokens: IdsOrLists,
    /// Whether special tokens, such as the end of a turn, are left out; false if absent.
    skip_special_tokens: Option<bool>,
}

/// Token ids, or a list of lists of them.
#[derive(Deserialize, ToSchema)]
#[serde(untagged)]
#[expect(dead_code, reason = "the schema of what `texts` reads")]
pub(super) enum IdsOrLists {
    Ids(Vec<u32>),
    Lists(Vec<Vec<u32>>),
}

/// The text of token ids, or of each list of them, under vLLM's name and under SGLang's.
#[derive(Debug, Serialize, ToSchema)]
struct Detokenized {
    prompt: OneOrEach<String>,
    text: OneOrEach<String>,
}

/// Makes text of `tokens`.
#[utoipa::path(
    post,
    path = "/detokenize",
    tag = "text",
    request_body(content = DetokenizeRequest, example = json!({"tokens": [72, 101, 108, 108, 111]})),
    responses((status = 200, body = Detokenized), Errors),
)]
async fn detokenize(State(app): State<Arc<App>>, request: Request) -> Result<Response, ApiError> {
    let reader = ReceivedRequest::read(&app, request).await?;
    reader.respond_with_list(&app, |app, body| Ok(("tokens", detokenized(app, &body.bytes)?))).await
}

/// The same as at `/detokenize`, under SGLang's name.
#[utoipa::path(
    post,
    path = "/v1/detokenize",
    tag = "text",
    request_body(content = DetokenizeRequest, example = json!({"tokens": [[72, 101], [108, 108, 111]]})),
    responses((status = 200, body = Detokenized), Errors),
)]
async fn detokenize_v1(app: State<Arc<App>>, request: Request) -> Result<Response, ApiError> {
    detokenize(app, request).await
}

fn detokenized(app: &App, body: &[u8]) -> Result<Detokenized, ApiError> {
    let mut fields = Fields::parse(body)?;
    app.model(fields.take::<String>("model")?.as_deref())?;
    let skip_special = fields.take("skip_special_tokens")?.unwrap_or(false);
    let list: Vec<Value> = fields.require("tokens")?;
    fields.take_neutral()?;
    fields.end("this route knows no such field; leave it out")?;
    let prompt = texts(app, "tokens", list, skip_special)?;
    Ok(Detokenized { text: prompt.map(String::clone), prompt })
}

/// The text of the token ids in the field `name`, or of each list of them.
///
/// # Errors
/// One of them is not a token id of the model.
pub(super) fn texts(
    app: &App,
    name: &str,
    list: Vec<Value>,
    skip_special: bool,
) -> Result<OneOrEach<String>, ApiError> {
    if list.first().is_some_and(Value::is_array) {
        check_count(name, list.len(), &app.settings.server)?;
        let mut texts = Vec::with_capacity(list.len());
        for (index, value) in list.into_iter().enumerate() {
            let path = format!("{name}[{index}]");
            let Value::Array(ids) = value else {
                return Err(wrong_type(path, "a list of token ids", &value));
            };
            texts.push(text(app, &path, &ids, skip_special)?);
        }
        Ok(OneOrEach::Each(texts))
    } else {
        Ok(OneOrEach::One(text(app, name, &list, skip_special)?))
    }
}

fn text(app: &App, path: &str, list: &[Value], skip_special: bool) -> Result<String, ApiError> {
    if list.is_empty() {
        return Ok(String::new());
    }
    // The model may have ids for which the tokenizer has no token; they decode to no text.
    let mut ids = token_ids::read(path, list, app.manifest.model.vocab_size)?;
    let vocabulary = app.encoder()?.vocabulary();
    if skip_special {
        ids.retain(|&id| !vocabulary.is_special(id));
    }
    Ok(vocabulary.decode(&ids))
}
