//! `POST /tokenize` and `POST /detokenize`, in vLLM's format, for every model.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Request, State};
use serde::Serialize;
use serde_json::Value;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::api::app::App;
use crate::api::error::ApiError;
use crate::api::fields::Fields;
use crate::api::item_path::ItemPath;
use crate::api::messages::PromptEndSchema;
use crate::api::messages::{self, Turn};
use crate::api::openapi::Errors;
use crate::api::request::ReceivedRequest;
use crate::api::template_variables::VariablesSchema;
use crate::api::template_variables::{VARIABLES, first_set, not_rendered, take_variables};
use crate::api::token_ids;
use crate::prompt::{EncodeOptions, PromptError};

pub(super) fn routes() -> OpenApiRouter<Arc<App>> {
    OpenApiRouter::new().routes(routes!(tokenize)).routes(routes!(detokenize))
}

/// Either `prompt` or `messages`.
#[derive(ToSchema)]
#[expect(dead_code, reason = "the schema of what `tokenized` reads")]
struct TokenizeRequest {
    /// The server's own if absent.
    model: Option<String>,
    prompt: Option<String>,
    #[schema(min_items = 1)]
    messages: Option<Vec<Turn>>,
    add_special_tokens: Option<bool>,
    #[serde(flatten)]
    prompt_end: PromptEndSchema,
    #[serde(flatten)]
    variables: VariablesSchema,
    /// Whether the response spells the tokens.
    return_token_strs: Option<bool>,
}

/// Token ids of the model.
#[derive(ToSchema)]
#[expect(dead_code, reason = "the schema of what `detokenized` reads")]
struct DetokenizeRequest {
    /// The server's own if absent.
    model: Option<String>,
    tokens: Vec<u32>,
}

/// Token ids of a text or a conversation.
#[derive(Debug, Serialize, ToSchema)]
struct Tokenized {
    count: usize,
    max_model_len: usize,
    tokens: Vec<u32>,
    /// The tokens as the vocabulary spells them; null unless they were asked for.
    token_strs: Option<Vec<String>>,
}

/// The text of token ids.
#[derive(Debug, Serialize, ToSchema)]
struct Detokenized {
    prompt: String,
}

/// Makes token ids of `prompt` or of `messages`.
#[utoipa::path(
    post,
    path = "/tokenize",
    tag = "text",
    request_body(content = TokenizeRequest, example = json!({"prompt": "Paris is", "return_token_strs": true})),
    responses((status = 200, body = Tokenized), Errors),
)]
async fn tokenize(State(app): State<Arc<App>>, request: Request) -> Result<Json<Tokenized>, ApiError> {
    let mut reader = ReceivedRequest::read(&app, request).await?;
    reader.prepare(&app, |app, body| Ok(Json(tokenized(app, &body.bytes)?))).await
}

fn tokenized(app: &App, body: &[u8]) -> Result<Tokenized, ApiError> {
    let mut fields = Fields::parse(body)?;
    app.model(fields.take::<String>("model")?.as_deref())?;
    let return_token_strs = fields.take("return_token_strs")?.unwrap_or(false);
    let tokens = tokens(app, &mut fields)?;
    fields.take_neutral()?;
    fields.end("this route knows no such field; leave it out")?;
    let mut token_strs = Vec::new();
    if return_token_strs {
        let vocabulary = app.encoder()?.vocabulary();
        token_strs.extend(tokens.iter().map(|&id| vocabulary.name(id).unwrap_or_default().to_owned()));
    }
    Ok(Tokenized {
        count: tokens.len(),
        max_model_len: app.max_seq_len,
        token_strs: return_token_strs.then_some(token_strs),
        tokens,
    })
}

fn tokens(app: &App, fields: &mut Fields) -> Result<Vec<u32>, ApiError> {
    let add_special_tokens = fields.take("add_special_tokens")?.unwrap_or(true);
    let set = first_set(fields, VARIABLES);
    let variables = take_variables(fields)?;
    match (fields.take::<String>("prompt")?, fields.take::<Vec<Value>>("messages")?) {
        (Some(prompt), None) => {
            if let Some(name) = set {
                return Err(not_rendered(name));
            }
            let tokens = text_tokens(app, &prompt, add_special_tokens)?;
            tokens.map_err(|error| ApiError::on_item(error, &ItemPath::field("prompt")))
        }
        (None, Some(list)) => {
            let messages = messages::read("messages", list)?;
            let generates = app.generator().is_ok();
            let encoding = messages::take_encode_options(fields, generates)?;
            let encoding = EncodeOptions { variables: Some(&variables), ..encoding };
            let tokens = app.encoder()?.encode(&messages, encoding);
            tokens.map_err(|error| ApiError::on_item(error, &ItemPath::field("messages")))
        }
        (None, None) => {
            let expected = "a text in `prompt`, or a conversation in `messages`";
            Err(fields.none_of(&["prompt", "messages"], expected))
        }
        (Some(_), Some(_)) => {
            Err(ApiError::invalid("prompt", "cannot be combined with `messages`: send one of them"))
        }
    }
}

/// The tokens of a text as the model is given it: those that are scored, or those that are continued.
fn text_tokens(
    app: &App,
    text: &str,
    add_special_tokens: bool,
) -> Result<Result<Vec<u32>, PromptError>, ApiError> {
    let encoder = app.encoder()?;
    Ok(if app.generator().is_ok() {
        encoder.encode_completion(text, add_special_tokens)
    } else if add_special_tokens {
        encoder.encode_templated(text)
    } else {
        encoder.encode_text(text)
    })
}

/// Makes text of `tokens`.
#[utoipa::path(
    post,
    path = "/detokenize",
    tag = "text",
    request_body(content = DetokenizeRequest, example = json!({"tokens": [72, 101, 108, 108, 111]})),
    responses((status = 200, body = Detokenized), Errors),
)]
async fn detokenize(State(app): State<Arc<App>>, request: Request) -> Result<Json<Detokenized>, ApiError> {
    let mut reader = ReceivedRequest::read(&app, request).await?;
    reader.prepare(&app, |app, body| Ok(Json(detokenized(app, &body.bytes)?))).await
}

fn detokenized(app: &App, body: &[u8]) -> Result<Detokenized, ApiError> {
    let mut fields = Fields::parse(body)?;
    app.model(fields.take::<String>("model")?.as_deref())?;
    let vocabulary = app.encoder()?.vocabulary();
    let list: Vec<Value> = fields.require("tokens")?;
    fields.take_neutral()?;
    fields.end("this route knows no such field; leave it out")?;
    if list.is_empty() {
        return Ok(Detokenized { prompt: String::new() });
    }
    // The model may have ids for which the tokenizer has no token; they decode to no text.
    let ids = token_ids::read("tokens", &list, app.manifest.model.vocab_size)?;
    Ok(Detokenized { prompt: vocabulary.decode(&ids) })
}
