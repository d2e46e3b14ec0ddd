//! `POST /v1/score/evaluation`: the route that LLaMA-Factory's reward models are served at, which its PPO calls.

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::response::Response;
use serde::Serialize;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::inputs::{Input, InputText, texts};
use super::scoring::TrainerSchema;
use super::scoring::{CompatRequest, UnknownFields, score};
use crate::api::app::App;
use crate::api::error::ApiError;
use crate::api::fields::Fields;
use crate::api::openapi::Errors;
use crate::api::wire::new_id;
use crate::config::ServerSettings;
use crate::prompt::Truncation;
use crate::serving::LengthPolicy;

pub(super) fn routes() -> OpenApiRouter<Arc<App>> {
    OpenApiRouter::new().routes(routes!(evaluation))
}

/// Texts with the chat template applied.
#[derive(ToSchema)]
#[expect(dead_code, reason = "the schema of what `read` reads")]
struct EvaluationRequest {
    messages: Vec<String>,
    /// Tokens to keep of a text, from its start.
    #[schema(minimum = 1)]
    max_length: Option<i64>,
    #[serde(flatten)]
    shared: TrainerSchema,
}

#[derive(Debug, Serialize, ToSchema)]
struct Evaluation<'a> {
    id: String,
    object: &'static str,
    model: &'a str,
    scores: Vec<f64>,
}

/// Scores texts to which LLaMA-Factory has applied the chat template.
#[utoipa::path(
    post,
    path = "/v1/score/evaluation",
    tag = "compatibility",
    request_body(content = EvaluationRequest, example = json!({
        "model": "model",
        "messages": ["<|start_header_id|>user<|end_header_id|>\n\nHello<|eot_id|>"]
    })),
    responses((status = 200, body = Evaluation), Errors),
)]
async fn evaluation(State(app): State<Arc<App>>, request: Request) -> Result<Response, ApiError> {
    let texts = score(&app, request, UnknownFields::Ignore, read).await?;
    let (model, scores) = (texts.model.name, texts.singles()?);
    Ok(texts.respond(Evaluation { id: new_id("scoreval"), object: "score.evaluation", model, scores }))
}

fn read(fields: &mut Fields, settings: &ServerSettings) -> Result<CompatRequest<()>, ApiError> {
    let mut inputs = Vec::new();
    for (index, text) in texts(fields, "messages", settings)?.into_iter().enumerate() {
        inputs.push(Input::at(format!("messages[{index}]"), InputText::Templated(text)));
    }
    Ok(CompatRequest { length: max_length(fields)?, ..CompatRequest::new(inputs, ()) })
}

/// Takes `max_length`: LLaMA-Factory's servers keep as many tokens of a text, from its start.
fn max_length(fields: &mut Fields) -> Result<Option<(&'static str, LengthPolicy)>, ApiError> {
    let Some(tokens) = fields.take::<i64>("max_length")? else { return Ok(None) };
    match usize::try_from(tokens) {
        Ok(tokens) if tokens > 0 => {
            Ok(Some(("max_length", LengthPolicy { truncation: Truncation::Right, tokens: Some(tokens) })))
        }
        _ => Err(ApiError::invalid(
            "max_length",
            format!("is {tokens}: send a number of tokens of at least 1"),
        )),
    }
}
