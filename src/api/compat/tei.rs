//! Hugging Face's text-embeddings-inference (TEI): `POST /predict`, and its form of `POST /rerank`.

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::response::Response;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::inputs::{Input, Text};
use super::scoring::{Activation, CompatRequest, UnknownFields, score};
use crate::api::app::App;
use crate::api::error::ApiError;
use crate::api::fields::{Fields, wrong_type};
use crate::api::middleware::limits::check_count;
use crate::api::openapi::Errors;
use crate::config::ServerSettings;
use crate::prompt::Truncation;
use crate::reward::Scores;
use crate::serving::LengthPolicy;

pub(super) fn routes() -> OpenApiRouter<Arc<App>> {
    OpenApiRouter::new().routes(routes!(predict))
}

/// Texts with the chat template applied, or pairs of a prompt and its response.
#[derive(ToSchema)]
#[expect(dead_code, reason = "the schema of what `read` reads")]
struct PredictRequest {
    inputs: PredictInputs,
    /// `false` asks for probabilities.
    raw_scores: Option<bool>,
    /// Whether texts that are too long are cut.
    truncate: Option<bool>,
    truncation_direction: Option<Direction>,
}

/// One text, or, in a list, one text, a pair, or lists of these.
#[derive(Deserialize, ToSchema)]
#[serde(untagged)]
#[expect(dead_code, reason = "the schema of what `inputs` reads")]
enum PredictInputs {
    Text(String),
    Pair(Vec<String>),
    Batch(Vec<Vec<String>>),
}

#[derive(Deserialize, ToSchema)]
enum Direction {
    Left,
    Right,
}

#[derive(Debug, Serialize, ToSchema)]
struct Prediction {
    score: f64,
    label: String,
}

/// A text's scores, the highest first; for a batch, a list of these.
#[derive(Debug, Serialize, ToSchema)]
#[serde(untagged)]
enum Predictions {
    One(Vec<Prediction>),
    Batch(Vec<Vec<Prediction>>),
}

enum PredictForm {
    /// One text was sent, which is answered by one list.
    One,
    Batch,
}

/// A text's place in the ranking of `POST /rerank`.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Rank {
    pub(super) index: usize,
    pub(super) score: f64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) text: Option<String>,
}

/// Scores texts, or pairs of a prompt and its response.
#[utoipa::path(
    post,
    path = "/predict",
    tag = "compatibility",
    request_body(content = PredictRequest, example = json!({
        "inputs": [["Hello", "Good day"], ["Hello", "Go away"]],
        "raw_scores": true
    })),
    responses((status = 200, body = Predictions), Errors),
)]
pub(super) async fn predict(State(app): State<Arc<App>>, request: Request) -> Result<Response, ApiError> {
    let texts = score(&app, request, UnknownFields::Refuse, read).await?;
    let lists = texts.scored.iter().map(|scored| predictions(&texts.answered(scored).scores));
    let predictions = match texts.form {
        PredictForm::One => Predictions::One(lists.flatten().collect()),
        PredictForm::Batch => Predictions::Batch(lists.collect()),
    };
    Ok(texts.respond(predictions))
}

/// A text's scores, the highest first.
fn predictions(scores: &Scores) -> Vec<Prediction> {
    let mut predictions = Vec::new();
    for (name, score) in scores.values() {
        predictions.push(Prediction { score, label: name.to_owned() });
    }
    predictions.sort_by(|a, b| b.score.total_cmp(&a.score));
    predictions
}

fn read(fields: &mut Fields, settings: &ServerSettings) -> Result<CompatRequest<PredictForm>, ApiError> {
    let (inputs, form) = inputs(fields.require("inputs")?, settings)?;
    let (activation, length) = (raw_scores(fields)?, truncate(fields)?);
    Ok(CompatRequest { activation, length, ..CompatRequest::new(inputs, form) })
}

/// Takes `raw_scores`, which is false for probabilities.
///
/// # Errors
/// It is not a boolean.
pub(super) fn raw_scores(fields: &mut Fields) -> Result<Activation, ApiError> {
    Ok(match fields.take::<bool>("raw_scores")? {
        Some(true) => Activation::Raw,
        Some(false) => Activation::Probabilities("raw_scores"),
        None => Activation::Peers,
    })
}

/// Takes `truncate` and `truncation_direction`. Unless a direction is given, the start is cut: the end of a
/// response is what is scored.
///
/// # Errors
/// One of them has another type or value.
pub(super) fn truncate(fields: &mut Fields) -> Result<Option<LengthPolicy>, ApiError> {
    let asked = fields.take::<bool>("truncate")?.unwrap_or(false);
    let direction = fields.take_one_of("truncation_direction", &["Left", "left", "Right", "right"])?;
    let truncation = match direction {
        Some("Right" | "right") => Truncation::Right,
        _ => Truncation::Left,
    };
    Ok(asked.then_some(LengthPolicy { truncation, tokens: None }))
}

fn inputs(value: Value, settings: &ServerSettings) -> Result<(Vec<Input>, PredictForm), ApiError> {
    match value {
        Value::String(text) => Ok((vec![Input::at("inputs", Text::Templated(text))], PredictForm::One)),
        Value::Array(list) if list.iter().any(Value::is_string) => {
            Ok((vec![sequence("inputs".into(), list.into())?], PredictForm::One))
        }
        Value::Array(list) => {
            check_count("inputs", list.len(), settings)?;
            let mut inputs = Vec::with_capacity(list.len());
            for (index, value) in list.into_iter().enumerate() {
                inputs.push(sequence(format!("inputs[{index}]"), value)?);
            }
            Ok((inputs, PredictForm::Batch))
        }
        other => Err(wrong_type("inputs", "a text, a pair of texts or a list of lists of them", &other)),
    }
}

/// One text, or a prompt and its response.
fn sequence(path: String, value: Value) -> Result<Input, ApiError> {
    const EXPECTED: &str = "one text or two in a list";
    let Value::Array(list) = value else { return Err(wrong_type(path, EXPECTED, &value)) };
    let text = match list.as_slice() {
        [Value::String(text)] => Text::Templated(text.clone()),
        [Value::String(prompt), Value::String(response)] => Text::Pair(prompt.clone(), response.clone()),
        _ => return Err(ApiError::invalid(path, format!("must be {EXPECTED}"))),
    };
    Ok(Input::at(path, text))
}
