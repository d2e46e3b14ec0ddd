//! `POST /predict`: text-embeddings-inference's.

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::response::Response;
use serde::Serialize;
use serde_json::Value;
use utoipa::ToSchema;

use super::text::Text;
use super::{Call, Unknown, score};
use crate::api::fields::{Fields, wrong_type};
use crate::api::openapi::{Errors, requests};
use crate::api::request::check_count;
use crate::api::{ApiError, App};
use crate::config::ServerSettings;
use crate::prompt::Truncation;
use crate::serving::{LengthPolicy, Scored};

#[derive(Debug, Serialize, ToSchema)]
struct Prediction {
    score: f64,
    label: String,
}

/// A text's scores, the highest first; of a batch, a list of these.
#[derive(Debug, Serialize, ToSchema)]
#[serde(untagged)]
enum Predictions {
    One(Vec<Prediction>),
    Batch(Vec<Vec<Prediction>>),
}

/// Whether one text was sent, which is answered by one list, or a batch.
struct Alone(bool);

/// Scores templated texts, or pairs of a prompt and its response.
#[utoipa::path(post, path = "/predict", tag = "trainers and compat", request_body = requests::PredictRequest, responses((status = 200, body = Predictions), Errors))]
pub(super) async fn predict(State(app): State<Arc<App>>, request: Request) -> Result<Response, ApiError> {
    let answer = score(&app, request, Unknown::Refused, read).await?;
    let lists = answer.scored.iter().map(predictions);
    let predictions = match answer.shape {
        Alone(true) => Predictions::One(lists.flatten().collect()),
        Alone(false) => Predictions::Batch(lists.collect()),
    };
    Ok(answer.respond(predictions))
}

/// A text's scores, the highest first.
fn predictions(scored: &Scored) -> Vec<Prediction> {
    let prediction = |(name, score): (&str, f64)| Prediction { score, label: name.to_owned() };
    let mut predictions: Vec<_> = scored.scores.values().map(prediction).collect();
    predictions.sort_by(|a, b| b.score.total_cmp(&a.score));
    predictions
}

fn read(fields: &mut Fields, settings: &ServerSettings) -> Result<Call<Alone>, ApiError> {
    let (texts, shape) = inputs(fields.require("inputs")?, settings)?;
    let activation = raw_scores(fields)?;
    Ok(Call { texts, shape, activation, length: truncate(fields)? })
}

/// `raw_scores`: logits, unless it says false.
///
/// # Errors
/// It is no boolean.
pub(super) fn raw_scores(fields: &mut Fields) -> Result<Option<&'static str>, ApiError> {
    let asked = fields.take::<bool>("raw_scores")? == Some(false);
    Ok(asked.then_some("raw_scores"))
}

/// `truncate` and `truncation_direction`. Where the direction is not said, the beginning is cut: the end
/// of a response is what is scored.
///
/// # Errors
/// One of them is something else.
pub(super) fn truncate(fields: &mut Fields) -> Result<Option<LengthPolicy>, ApiError> {
    let asked = fields.take::<bool>("truncate")?.unwrap_or(false);
    let direction = fields.take_one_of("truncation_direction", &["Left", "left", "Right", "right"])?;
    let truncation = match direction {
        Some("Right" | "right") => Truncation::Right,
        _ => Truncation::Left,
    };
    Ok(asked.then_some(LengthPolicy { truncation, tokens: None }))
}

fn inputs(value: Value, settings: &ServerSettings) -> Result<(Vec<Text>, Alone), ApiError> {
    match value {
        Value::String(text) => Ok((vec![Text::Templated(text)], Alone(true))),
        Value::Array(list) if list.iter().any(Value::is_string) => {
            Ok((vec![sequence("inputs".into(), list.into())?], Alone(true)))
        }
        Value::Array(list) => {
            check_count("inputs", list.len(), settings)?;
            let item = |(index, value)| sequence(format!("inputs[{index}]"), value);
            let texts = list.into_iter().enumerate().map(item).collect::<Result<_, _>>()?;
            Ok((texts, Alone(false)))
        }
        other => {
            Err(wrong_type("inputs".into(), "a text, a pair of texts or a list of lists of them", &other))
        }
    }
}

/// One text, or a prompt and its response.
fn sequence(path: String, value: Value) -> Result<Text, ApiError> {
    let expected = "one text or two in a list";
    match value {
        Value::Array(list) => match list.as_slice() {
            [Value::String(text)] => Ok(Text::Templated(text.clone())),
            [Value::String(prompt), Value::String(response)] => {
                Ok(Text::Pair(prompt.clone(), response.clone()))
            }
            _ => Err(ApiError::Invalid(path, format!("must be {expected}"))),
        },
        other => Err(wrong_type(path, expected, &other)),
    }
}
