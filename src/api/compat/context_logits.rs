//! `POST /v1/completions` with `return_context_logits`, as TensorRT-LLM's server has it: its best-of-N scaffolding
//! reads the scores of a reward model there.

use std::sync::Arc;

use axum::extract::Request;
use axum::response::Response;
use serde::Serialize;
use serde_json::Value;
use utoipa::ToSchema;

use super::inputs::{Input, InputText};
use super::scoring::{CompatRequest, ReadAt, ScoredTexts, UnknownFields, score};
use crate::api::app::App;
use crate::api::error::ApiError;
use crate::api::fields::Fields;
use crate::api::wire::{Usage, new_id, unix_time};
use crate::config::ServerSettings;
use crate::reward::Scores;
use crate::serving::Scored;

const FIELD: &str = "return_context_logits";
/// Stands in for the logarithm of 0: a probability too small for an f32.
const LEAST: f32 = -103.0;

/// A completion of nothing, with the scores of its prompt.
#[derive(Debug, Serialize, ToSchema)]
pub(in crate::api) struct ContextLogits<'a> {
    id: String,
    object: &'static str,
    created: u64,
    model: &'a str,
    choices: Vec<ContextChoice>,
    usage: Usage,
}

#[derive(Debug, Serialize, ToSchema)]
struct ContextChoice {
    index: usize,
    text: &'static str,
    logprobs: Option<()>,
    /// A row for each token of the prompt: its scores. From a model that scores steps, a row has two logits, which
    /// are 0 except at the end of a step.
    context_logits: Vec<Vec<f64>>,
    finish_reason: &'static str,
}

/// Answers a request to a reward model.
///
/// # Errors
/// The request does not ask for `return_context_logits`, or is wrong, or a prompt has no scores.
pub(in crate::api) async fn respond(app: Arc<App>, request: Request) -> Result<Response, ApiError> {
    if app.scorer()?.head().judge().is_some() {
        return Err(ApiError::WrongTask(
            "the model served here judges conversations and generates no text; send messages to POST /v1/rewards or \
             /v1/chat/completions",
        ));
    }
    let texts = score(&app, request, UnknownFields::Ignore, read).await?;
    let mut choices = Vec::with_capacity(texts.scored.len());
    for (index, scored) in texts.scored.iter().enumerate() {
        let context_logits = rows(&texts, scored);
        choices.push(ContextChoice {
            index,
            text: "",
            logprobs: None,
            context_logits,
            finish_reason: "length",
        });
    }
    Ok(texts.respond(ContextLogits {
        id: new_id("cmpl"),
        object: "text_completion",
        created: unix_time(),
        model: texts.model.name,
        choices,
        usage: texts.usage(),
    }))
}

/// A row for each token of a text.
fn rows(texts: &ScoredTexts<'_, ()>, scored: &Scored) -> Vec<Vec<f64>> {
    if !texts.head.scores_steps() {
        let row = |scores: &Scores| scores.values().map(|(_, value)| value).collect();
        return scored.tokens.iter().map(row).collect();
    }
    let pairs = texts.head.steps_are_probabilities();
    let mut rows = vec![vec![0.0; if pairs { 2 } else { 1 }]; scored.prompt_tokens];
    for (position, (_, score)) in scored.positions.iter().zip(&scored.scores.pairs) {
        let logits = if pairs {
            // Their softmax is the step's pair of probabilities.
            [(1.0 - score).ln(), score.ln()].map(|logit| f64::from(logit.max(LEAST))).to_vec()
        } else {
            vec![f64::from(*score)]
        };
        if let Some(row) = rows.get_mut(*position) {
            *row = logits;
        }
    }
    rows
}

fn read(fields: &mut Fields, _: &ServerSettings) -> Result<CompatRequest<()>, ApiError> {
    if fields.take::<bool>(FIELD)? != Some(true) {
        return Err(ApiError::WrongTask(
            "the model served here scores texts and generates none; send return_context_logits, or use POST \
             /v1/rewards or /v1/chat/completions",
        ));
    }
    let inputs = match fields.require_value("prompt", "one text, or the token ids of one")? {
        Value::String(text) => vec![Input::at("prompt", InputText::Templated(text))],
        Value::Array(ids) if ids.first().is_some_and(Value::is_number) => {
            vec![Input::at("prompt", InputText::Tokens(ids))]
        }
        _ => {
            let reason = "must be one text, or the token ids of one: a row for each token of it is returned";
            return Err(ApiError::invalid("prompt", reason));
        }
    };
    Ok(CompatRequest { read_at: ReadAt::EachTokenOrStep(FIELD), ..CompatRequest::new(inputs, ()) })
}
