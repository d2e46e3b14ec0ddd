//! `POST /classify` and `POST /v1/classify`, which two servers have: with `text` or `input_ids` the request has the
//! form of SGLang, with `input` or `messages` that of vLLM.

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::response::Response;
use serde::Serialize;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::inputs::{InputSchema, TextSchema, TokensSchema};
use super::scoring::{CompatRequest, UnknownFields, score};
use super::sglang_classify::{self, Embedded, NativeForm};
use super::vllm::{self, Classification, List};
use crate::api::app::App;
use crate::api::error::ApiError;
use crate::api::fields::Fields;
use crate::api::messages::Turn;
use crate::api::openapi::Errors;
use crate::config::ServerSettings;
use crate::prompt::Truncation;

pub(super) fn routes() -> OpenApiRouter<Arc<App>> {
    OpenApiRouter::new().routes(routes!(classify)).routes(routes!(classify_v1))
}

/// One of `text`, `input_ids`, `input` and `messages`, with the other fields of the server that uses this name.
#[derive(ToSchema)]
#[expect(dead_code, reason = "the schema of what `read` reads")]
struct ClassifyRequest {
    model: Option<String>,
    /// SGLang's name.
    text: Option<TextSchema>,
    /// SGLang's name.
    input_ids: Option<TokensSchema>,
    /// vLLM's name.
    input: Option<InputSchema>,
    #[schema(min_items = 1)]
    messages: Option<Vec<Turn>>,
    /// Whether probabilities are wanted instead of logits.
    use_activation: Option<bool>,
    /// Tokens to keep; -1 for as many as the engine takes.
    #[schema(minimum = -1)]
    truncate_prompt_tokens: Option<i64>,
    truncation: Option<Truncation>,
}

/// The response in the form of the request.
#[derive(Debug, Serialize, ToSchema)]
#[serde(untagged)]
enum Classified<'a> {
    Classes(List<'a, Classification>),
    One(Embedded),
    Many(Vec<Embedded>),
}

/// Whose form the request has.
enum Client {
    Vllm,
    Sglang(NativeForm),
}

/// Scores texts, or a conversation.
#[utoipa::path(
    post,
    path = "/classify",
    tag = "compatibility",
    request_body(content = ClassifyRequest, example = json!({
        "model": "demo",
        "input": "<|start_header_id|>user<|end_header_id|>\n\nHello<|eot_id|>",
        "use_activation": false
    })),
    responses((status = 200, body = Classified), Errors),
)]
pub(in crate::api) async fn classify(
    State(app): State<Arc<App>>,
    request: Request,
) -> Result<Response, ApiError> {
    let texts = score(&app, request, UnknownFields::Refuse, read).await?;
    let answer = match &texts.form {
        Client::Vllm => Classified::Classes(vllm::classes(&texts)),
        Client::Sglang(form) => {
            let mut embedded = sglang_classify::embedded(&texts, form);
            match embedded.pop() {
                Some(one) if form.is_single() => Classified::One(one),
                last => {
                    embedded.extend(last);
                    Classified::Many(embedded)
                }
            }
        }
    };
    Ok(texts.respond(answer))
}

/// The same as at `/classify`.
#[utoipa::path(
    post,
    path = "/v1/classify",
    tag = "compatibility",
    request_body(content = ClassifyRequest, example = json!({
        "text": ["<|start_header_id|>user<|end_header_id|>\n\nHello<|eot_id|>"]
    })),
    responses((status = 200, body = Classified), Errors),
)]
async fn classify_v1(state: State<Arc<App>>, request: Request) -> Result<Response, ApiError> {
    classify(state, request).await
}

fn read(fields: &mut Fields, settings: &ServerSettings) -> Result<CompatRequest<Client>, ApiError> {
    if fields.has("text") || fields.has("input_ids") {
        let (inputs, form) = sglang_classify::read(fields, settings)?;
        let activation = sglang_classify::activation(fields)?;
        return Ok(CompatRequest { activation, ..CompatRequest::new(inputs, Client::Sglang(form)) });
    }
    vllm::read_as(Client::Vllm, fields, settings)
}
