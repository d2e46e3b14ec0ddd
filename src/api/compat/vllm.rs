//! `POST /classify`: vLLM's route, which verl and others use.

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::response::Response;
use serde::Serialize;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::inputs::{InputSchema, messages_or_input};
use super::scoring::{CompatRequest, UnknownFields, score, values};
use crate::api::app::App;
use crate::api::error::ApiError;
use crate::api::fields::Fields;
use crate::api::messages::Turn;
use crate::api::openapi::Errors;
use crate::api::wire::{Usage, new_id, unix_time};
use crate::config::ServerSettings;
use crate::prompt::Truncation;

pub(super) fn routes() -> OpenApiRouter<Arc<App>> {
    OpenApiRouter::new().routes(routes!(classify))
}

/// `messages`, or `input`.
#[derive(ToSchema)]
#[expect(dead_code, reason = "the schema of what `read` reads")]
struct ClassifyRequest {
    model: Option<String>,
    input: Option<InputSchema>,
    #[schema(min_items = 1)]
    messages: Option<Vec<Turn>>,
    /// Whether probabilities are wanted instead of logits.
    use_activation: Option<bool>,
    /// Tokens to keep of a text's end; -1 for as many as the engine takes.
    #[schema(minimum = -1)]
    truncate_prompt_tokens: Option<i64>,
    truncation: Option<Truncation>,
}

#[derive(Debug, Serialize, ToSchema)]
struct Classes<'a> {
    id: String,
    object: &'static str,
    created: u64,
    model: &'a str,
    data: Vec<Class>,
    usage: Usage,
}

#[derive(Debug, Serialize, ToSchema)]
struct Class {
    index: usize,
    /// The attribute of the largest score.
    label: Option<String>,
    /// Scores in the model's order: logits, unless probabilities are asked for.
    probs: Vec<f64>,
    num_classes: usize,
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
    responses((status = 200, body = Classes), Errors),
)]
async fn classify(State(app): State<Arc<App>>, request: Request) -> Result<Response, ApiError> {
    let texts = score(&app, request, UnknownFields::Refuse, read).await?;
    let mut data = Vec::with_capacity(texts.scored.len());
    for (index, scored) in texts.scored.iter().enumerate() {
        let probs = values(scored);
        let largest = scored.scores.pairs.iter().max_by(|a, b| a.1.total_cmp(&b.1));
        let label = largest.map(|(name, _)| name.clone());
        data.push(Class { index, label, num_classes: probs.len(), probs });
    }
    Ok(texts.respond(Classes {
        id: new_id("classify"),
        object: "list",
        created: unix_time(),
        model: texts.model.name,
        data,
        usage: texts.usage(),
    }))
}

fn read(fields: &mut Fields, settings: &ServerSettings) -> Result<CompatRequest<()>, ApiError> {
    let inputs = messages_or_input(fields, settings)?;
    let activation = use_activation(fields)?;
    fields.take_one_of("encoding_format", &["float"])?;
    fields.take_one_of("task", &["classify", "reward", "score"])?;
    Ok(CompatRequest { activation, ..CompatRequest::new(inputs, ()) })
}

/// Takes `use_activation`, or one of its older names; returns the field that asks for probabilities, if one does.
///
/// # Errors
/// One of them is not a boolean.
pub(super) fn use_activation(fields: &mut Fields) -> Result<Option<&'static str>, ApiError> {
    let mut activation = None;
    for name in ["use_activation", "activation", "softmax"] {
        if fields.take::<bool>(name)? == Some(true) {
            activation = Some(name);
        }
    }
    Ok(activation)
}
