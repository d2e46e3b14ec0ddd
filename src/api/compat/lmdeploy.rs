//! lmdeploy's `POST /v1/encode`, with which its client counts tokens.

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::response::Response;
use serde::Serialize;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::api::app::App;
use crate::api::error::ApiError;
use crate::api::fields::Fields;
use crate::api::generation::{OneOrEach, TEXTS, TextOrTexts, ids_or_lists, prompt_tokens};
use crate::api::openapi::Errors;
use crate::api::request::ReceivedRequest;

pub(super) fn routes() -> OpenApiRouter<Arc<App>> {
    OpenApiRouter::new().routes(routes!(encode))
}

#[derive(ToSchema)]
#[expect(dead_code, reason = "the schema of what `encoded` reads")]
struct EncodeRequest {
    /// The server's own if absent.
    model: Option<String>,
    input: TextOrTexts,
    /// Whether the BOS token is added where the text lacks it; true if absent.
    add_bos: Option<bool>,
    /// Only false: `/tokenize` applies the chat template to `messages`.
    do_preprocess: Option<bool>,
}

/// Token ids of a text, and how many they are; lists of these for a list of texts.
#[derive(Debug, Serialize, ToSchema)]
struct Encoded {
    #[schema(schema_with = ids_or_lists)]
    input_ids: OneOrEach<Vec<u32>>,
    length: OneOrEach<usize>,
}

/// Makes token ids of `input`.
#[utoipa::path(
    post,
    path = "/v1/encode",
    tag = "text",
    request_body(content = EncodeRequest, example = json!({"input": "Paris is", "add_bos": false})),
    responses((status = 200, body = Encoded), Errors),
)]
async fn encode(State(app): State<Arc<App>>, request: Request) -> Result<Response, ApiError> {
    let reader = ReceivedRequest::read(&app, request).await?;
    reader.respond_with_list(&app, |app, body| Ok(("input", encoded(app, &body.bytes)?))).await
}

fn encoded(app: &App, body: &[u8]) -> Result<Encoded, ApiError> {
    let mut fields = Fields::parse(body)?;
    app.model(fields.take::<String>("model")?.as_deref())?;
    let add_bos = fields.take("add_bos")?.unwrap_or(true);
    if fields.take("do_preprocess")?.unwrap_or(false) {
        let reason = "this route applies no chat template; send the conversation to /tokenize, in `messages`";
        return Err(ApiError::unsupported("do_preprocess", reason));
    }
    let input = fields.require_value("input", TEXTS)?;
    let input_ids = prompt_tokens(app, "input", &input, add_bos)?;
    fields.take_neutral()?;
    fields.end("this route knows no such field; leave it out")?;
    Ok(Encoded { length: input_ids.map(Vec::len), input_ids })
}
