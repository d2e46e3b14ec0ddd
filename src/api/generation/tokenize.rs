//! `POST /tokenize` and `POST /detokenize`, in vLLM's form, of every model.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Request, State};
use serde::Serialize;
use serde_json::Value;
use utoipa::ToSchema;

use crate::api::fields::Fields;
use crate::api::openapi::{Errors, requests};
use crate::api::request::RequestReader;
use crate::api::{ApiError, App, messages};
use crate::prompt::EncodeOptions;

/// Token ids of a text or a conversation.
#[derive(Debug, Serialize, ToSchema)]
pub(in crate::api) struct Tokenized {
    count: usize,
    max_model_len: usize,
    tokens: Vec<u32>,
    /// The tokens as the vocabulary spells them, if they were asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    token_strs: Option<Vec<String>>,
}

/// The text of token ids.
#[derive(Debug, Serialize, ToSchema)]
pub(in crate::api) struct Detokenized {
    prompt: String,
}

/// Makes token ids of `prompt` or of `messages`.
#[utoipa::path(post, path = "/tokenize", tag = "text", request_body = requests::TokenizeRequest, responses((status = 200, body = Tokenized), Errors))]
pub(in crate::api) async fn tokenize(
    State(app): State<Arc<App>>,
    request: Request,
) -> Result<Json<Tokenized>, ApiError> {
    let mut reader = RequestReader::read(&app, request).await?;
    reader.prepare(&app, |app, body| Ok(Json(tokenized(app, body)?))).await
}

fn tokenized(app: &App, body: &[u8]) -> Result<Tokenized, ApiError> {
    let mut fields = Fields::parse(body)?;
    app.model(fields.take::<String>("model")?.as_deref())?;
    let encoder = app.encoder()?;
    let strings = fields.take("return_token_strs")?.unwrap_or(false);
    let tokens = match (fields.take::<String>("prompt")?, fields.take::<Vec<Value>>("messages")?) {
        (Some(prompt), None) => {
            let add_special_tokens = fields.take("add_special_tokens")?.unwrap_or(true);
            encoder.encode_completion(&prompt, add_special_tokens)?
        }
        (None, Some(list)) => {
            let messages = messages::read("messages", list)?;
            fields.take::<bool>("add_special_tokens")?;
            let by_default = app.generator().is_ok();
            let add_generation_prompt = fields.take("add_generation_prompt")?.unwrap_or(by_default);
            encoder.encode(&messages, EncodeOptions { add_generation_prompt })?
        }
        _ => {
            return Err(ApiError::Invalid(
                "prompt".into(),
                "or `messages` must be there, and only one".into(),
            ));
        }
    };
    fields.end("this route knows no such field; leave it out")?;
    let vocabulary = encoder.vocabulary();
    let name = |&id: &u32| vocabulary.name(id).unwrap_or_default().to_owned();
    Ok(Tokenized {
        count: tokens.len(),
        max_model_len: app.max_seq_len,
        token_strs: strings.then(|| tokens.iter().map(name).collect()),
        tokens,
    })
}

/// Makes text of `tokens`.
#[utoipa::path(post, path = "/detokenize", tag = "text", request_body = requests::DetokenizeRequest, responses((status = 200, body = Detokenized), Errors))]
pub(in crate::api) async fn detokenize(
    State(app): State<Arc<App>>,
    request: Request,
) -> Result<Json<Detokenized>, ApiError> {
    let mut reader = RequestReader::read(&app, request).await?;
    reader.prepare(&app, |app, body| Ok(Json(detokenized(app, body)?))).await
}

fn detokenized(app: &App, body: &[u8]) -> Result<Detokenized, ApiError> {
    let mut fields = Fields::parse(body)?;
    app.model(fields.take::<String>("model")?.as_deref())?;
    let vocabulary = app.encoder()?.vocabulary();
    let list: Vec<Value> = fields.require("tokens")?;
    fields.end("this route knows no such field; leave it out")?;
    let known = |(index, value): (usize, &Value)| {
        let id = value.as_u64().and_then(|id| u32::try_from(id).ok());
        // The model may have ids that the tokenizer has no token for: they are nothing in a text.
        id.filter(|&id| (id as usize) < app.manifest.model.vocab_size).ok_or_else(|| {
            let size = app.manifest.model.vocab_size;
            ApiError::Invalid(
                format!("tokens[{index}]"),
                format!("must be a token id, a whole number below {size}"),
            )
        })
    };
    let ids = list.iter().enumerate().map(known).collect::<Result<Vec<_>, _>>()?;
    Ok(Detokenized { prompt: vocabulary.decode(&ids) })
}
