//! `POST /classify` and `POST /v1/classify`, which two servers have: with `text` or `input_ids` the request has the
//! format of SGLang, with `input` or `messages` that of vLLM.

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::response::Response;
use serde::Serialize;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::inputs::{InputSchema, TextSchema, TokensSchema};
use super::scoring::SharedSchema;
use super::scoring::{CompatRequest, UnknownFields, score};
use super::sglang_classify::RidSchema;
use super::sglang_classify::{self, Embedded, NativeShape};
use super::vllm::ActivationSchema;
use super::vllm::{self, Classification, List};
use crate::api::app::App;
use crate::api::error::ApiError;
use crate::api::fields::Fields;
use crate::api::messages::PromptEndSchema;
use crate::api::messages::Turn;
use crate::api::openapi::Errors;
use crate::config::ServerSettings;
use serde::Deserialize;

pub(super) fn routes() -> OpenApiRouter<Arc<App>> {
    OpenApiRouter::new().routes(routes!(classify)).routes(routes!(classify_v1))
}

/// One of `text`, `input_ids`, `input` and `messages`, with the other fields of the server that uses this name.
#[derive(ToSchema)]
#[expect(dead_code, reason = "the schema of what `read` reads")]
struct ClassifyRequest {
    /// SGLang's name.
    text: Option<TextSchema>,
    /// SGLang's name.
    input_ids: Option<TokensSchema>,
    /// vLLM's name.
    input: Option<InputSchema>,
    #[schema(min_items = 1)]
    messages: Option<Vec<Turn>>,
    /// Whether the tokens that every text of the model has are added to `input` where it lacks them.
    add_special_tokens: Option<bool>,
    /// SGLang's name for the ids of texts: one, or as many as there are texts.
    rid: Option<RidSchema>,
    /// vLLM's tasks, which are one here.
    task: Option<ClassifyTask>,
    /// vLLM's format of numbers.
    encoding_format: Option<FloatFormat>,
    #[serde(flatten)]
    activation: ActivationSchema,
    #[serde(flatten)]
    prompt_end: PromptEndSchema,
    #[serde(flatten)]
    shared: SharedSchema,
}

#[derive(Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
enum ClassifyTask {
    Classify,
    Reward,
    Score,
}

#[derive(Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
enum FloatFormat {
    Float,
}

/// The response in the format of the request.
#[derive(Debug, Serialize, ToSchema)]
#[serde(untagged)]
enum Classified<'a> {
    Classes(List<'a, Classification>),
    One(Embedded),
    Many(Vec<Embedded>),
}

/// Whose format the request has.
enum Client {
    Vllm,
    Sglang(NativeShape),
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
    let answer = match &texts.shape {
        Client::Vllm => Classified::Classes(vllm::classes(&texts)),
        Client::Sglang(shape) => {
            let mut embedded = sglang_classify::embedded(&texts, shape);
            match embedded.pop() {
                Some(one) if shape.is_single() => Classified::One(one),
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
        let (inputs, shape) = sglang_classify::read(fields, settings)?;
        let activation = sglang_classify::activation(fields)?;
        return Ok(CompatRequest { activation, ..CompatRequest::new(inputs, Client::Sglang(shape)) });
    }
    if !fields.has("input") && !fields.has("messages") {
        let expected = "texts or token ids in `input`, a conversation in `messages`, or, in SGLang's format, texts in \
                        `text` or token ids in `input_ids`";
        return Err(fields.none_of(&["input", "messages", "text", "input_ids"], expected));
    }
    vllm::read_as(Client::Vllm, fields, settings)
}
