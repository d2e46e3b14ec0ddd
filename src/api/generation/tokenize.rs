//! `POST /tokenize`, in the format that vLLM and SGLang share and in that of TEI, for every model.

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::response::Response;
use serde::Serialize;
use serde_json::Value;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::tei_tokens::{self, TextToken};
use super::text_tokens::{OneOrEach, TEXTS, TextOrTexts, ids_or_lists, prompt_tokens, tokens_or_lists};
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
use crate::prompt::EncodeOptions;

pub(super) fn routes() -> OpenApiRouter<Arc<App>> {
    OpenApiRouter::new().routes(routes!(tokenize)).routes(routes!(tokenize_v1))
}

/// One of `prompt`, `messages` and `inputs`.
#[derive(ToSchema)]
#[expect(dead_code, reason = "the schema of what `tokenized` reads")]
struct TokenizeRequest {
    /// The server's own if absent.
    model: Option<String>,
    prompt: Option<TextOrTexts>,
    /// TEI's name of `prompt`: the response is then a list of the tokens of each text, with their places in it.
    inputs: Option<TextOrTexts>,
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

/// Token ids of a text or a conversation. For a list of texts, each field but `max_model_len` is a list.
#[derive(Debug, Serialize, ToSchema)]
struct Tokenized {
    count: OneOrEach<usize>,
    max_model_len: usize,
    #[schema(schema_with = ids_or_lists)]
    tokens: OneOrEach<Vec<u32>>,
    /// The tokens as the vocabulary spells them; null unless they were asked for.
    #[schema(schema_with = tokens_or_lists)]
    token_strs: Option<OneOrEach<Vec<String>>>,
}

/// The response in one of the formats.
#[derive(Debug, Serialize, ToSchema)]
#[serde(untagged)]
enum Tokenization {
    Ids(Tokenized),
    Located(Vec<Vec<TextToken>>),
}

/// Makes token ids of `prompt`, `messages` or `inputs`.
#[utoipa::path(
    post,
    path = "/tokenize",
    tag = "text",
    request_body(content = TokenizeRequest, example = json!({"prompt": "Paris is", "return_token_strs": true})),
    responses((status = 200, body = Tokenization), Errors),
)]
async fn tokenize(State(app): State<Arc<App>>, request: Request) -> Result<Response, ApiError> {
    let reader = ReceivedRequest::read(&app, request).await?;
    reader.respond_with_list(&app, |app, body| tokenized(app, &body.bytes)).await
}

/// The same as at `/tokenize`, under SGLang's name.
#[utoipa::path(
    post,
    path = "/v1/tokenize",
    tag = "text",
    request_body(content = TokenizeRequest, example = json!({"prompt": ["Paris is", "Rome is"]})),
    responses((status = 200, body = Tokenization), Errors),
)]
async fn tokenize_v1(app: State<Arc<App>>, request: Request) -> Result<Response, ApiError> {
    tokenize(app, request).await
}

/// The tokens, and the field with the text that has them.
fn tokenized(app: &App, body: &[u8]) -> Result<(&'static str, Tokenization), ApiError> {
    let mut fields = Fields::parse(body)?;
    app.model(fields.take::<String>("model")?.as_deref())?;
    if fields.has("inputs") {
        return Ok(("inputs", Tokenization::Located(located(app, fields)?)));
    }
    let return_token_strs = fields.take("return_token_strs")?.unwrap_or(false);
    let field = if fields.has("prompt") { "prompt" } else { "messages" };
    let tokens = tokens(app, &mut fields)?;
    fields.take_neutral()?;
    fields.end("this route knows no such field; leave it out")?;
    let vocabulary = app.encoder()?.vocabulary();
    let name = |&id: &u32| vocabulary.name(id).unwrap_or_default().to_owned();
    let names = |ids: &Vec<u32>| ids.iter().map(name).collect();
    let ids = Tokenization::Ids(Tokenized {
        count: tokens.map(Vec::len),
        max_model_len: app.max_seq_len,
        token_strs: return_token_strs.then(|| tokens.map(names)),
        tokens,
    });
    Ok((field, ids))
}

/// Reads a request in TEI's format.
fn located(app: &App, mut fields: Fields) -> Result<Vec<Vec<TextToken>>, ApiError> {
    let add_special_tokens = fields.take("add_special_tokens")?.unwrap_or(true);
    let inputs = fields.require_value("inputs", TEXTS)?;
    let tokens = tei_tokens::tokens(app, &inputs, add_special_tokens)?;
    fields.take_neutral()?;
    fields.end("requests with `inputs` have no such field; leave it out")?;
    Ok(tokens)
}

fn tokens(app: &App, fields: &mut Fields) -> Result<OneOrEach<Vec<u32>>, ApiError> {
    let add_special_tokens = fields.take("add_special_tokens")?.unwrap_or(true);
    let set = first_set(fields, VARIABLES);
    let variables = take_variables(fields)?;
    match (fields.take::<Value>("prompt")?, fields.take::<Vec<Value>>("messages")?) {
        (Some(prompt), None) => {
            if let Some(name) = set {
                return Err(not_rendered(name));
            }
            prompt_tokens(app, "prompt", &prompt, add_special_tokens)
        }
        (None, Some(list)) => {
            let messages = messages::read("messages", list)?;
            let generates = app.generator().is_ok();
            let encoding = messages::take_encode_options(fields, generates)?;
            let encoding = EncodeOptions { variables: Some(&variables), ..encoding };
            let tokens = app.encoder()?.encode(&messages, encoding);
            let tokens = tokens.map_err(|error| ApiError::on_item(error, &ItemPath::field("messages")))?;
            Ok(OneOrEach::One(tokens))
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
