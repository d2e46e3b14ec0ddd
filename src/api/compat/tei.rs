//! Hugging Face's text-embeddings-inference (TEI): `POST /predict`, and its format of `POST /rerank`.

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::response::Response;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::inputs::{Input, InputText, not_texts};
use super::ranking;
use super::scoring::SharedSchema;
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

const INPUTS: &str = "a text, a pair of texts or a list of lists of them";
/// The field that names the function.
const FUNCTION: &str = "parameters.function_to_apply";

pub(super) fn routes() -> OpenApiRouter<Arc<App>> {
    OpenApiRouter::new().routes(routes!(predict))
}

/// Texts with the chat template applied, or pairs of a prompt and its response.
#[derive(ToSchema)]
#[expect(dead_code, reason = "the schema of what `read` reads")]
struct PredictRequest {
    inputs: PredictInputs,
    #[serde(flatten)]
    reading: TeiSchema,
    /// The field that clients of Hugging Face's Inference API send. The response to one text is then a list in a list.
    parameters: Option<ParametersSchema>,
    #[serde(flatten)]
    shared: SharedSchema,
}

/// The fields of all of TEI's routes.
#[derive(ToSchema)]
#[schema(as = TeiFields)]
#[expect(dead_code, reason = "the schema of what `raw_scores` and `truncate` read")]
pub(super) struct TeiSchema {
    /// `false` asks for probabilities.
    raw_scores: Option<bool>,
    /// Whether texts that are too long are cut.
    truncate: Option<bool>,
    /// Where they are cut; `Left` if absent.
    truncation_direction: Option<Direction>,
}

#[derive(Deserialize, ToSchema)]
#[schema(as = PredictParameters)]
#[expect(dead_code, reason = "the schema of what `parameters` reads")]
struct ParametersSchema {
    function_to_apply: Option<Function>,
    /// Maximum number of labels of a text; 0 for all.
    #[schema(minimum = 0)]
    top_k: Option<i64>,
}

/// How logits become the numbers of the response.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
enum Function {
    None,
    /// For a model with one score.
    Sigmoid,
    /// For a model with several.
    Softmax,
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
    #[serde(rename = "Left")]
    CapitalLeft,
    #[serde(rename = "left")]
    Left,
    #[serde(rename = "Right")]
    CapitalRight,
    #[serde(rename = "right")]
    Right,
}

#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Prediction {
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

struct PredictShape {
    /// Whether the response to one text is one list, not a list in a list.
    flat: bool,
    function: Option<Function>,
    /// Maximum number of labels of a text; 0 for all.
    top: usize,
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
pub(in crate::api) async fn predict(
    State(app): State<Arc<App>>,
    request: Request,
) -> Result<Response, ApiError> {
    let texts = score(&app, request, UnknownFields::Refuse, read).await?;
    let PredictShape { flat, function, top } = texts.shape;
    let mut lists = Vec::with_capacity(texts.scored.len());
    for scored in &texts.scored {
        let mut list = predictions(&texts.answered(scored).scores);
        check_function(function, list.len())?;
        if top > 0 {
            list.truncate(top);
        }
        lists.push(list);
    }
    Ok(texts.respond(if flat {
        Predictions::One(lists.into_iter().flatten().collect())
    } else {
        Predictions::Batch(lists)
    }))
}

/// A text's scores, the highest first.
pub(super) fn predictions(scores: &Scores) -> Vec<Prediction> {
    let mut predictions = Vec::new();
    for (name, score) in scores.values() {
        predictions.push(Prediction { score, label: name.to_owned() });
    }
    predictions.sort_by(|a, b| b.score.total_cmp(&a.score));
    predictions
}

fn read(fields: &mut Fields, settings: &ServerSettings) -> Result<CompatRequest<PredictShape>, ApiError> {
    let (inputs, single) = inputs(fields.require_value("inputs", INPUTS)?, settings)?;
    let (activation, length) = (raw_scores(fields)?, truncate(fields)?);
    // How long the hosted service may wait, and whether it may answer from a cache.
    fields.take::<Value>("options")?;
    let Some(parameters) = fields.take("parameters")? else {
        let shape = PredictShape { flat: single, function: None, top: 0 };
        return Ok(CompatRequest { activation, length, ..CompatRequest::new(inputs, shape) });
    };
    let mut parameters = Fields::from_value("parameters".into(), parameters)?;
    let top = ranking::top(&mut parameters, "top_k")?;
    let function = match parameters.take_one_of("function_to_apply", &["none", "sigmoid", "softmax"])? {
        Some("none") => Some(Function::None),
        Some("sigmoid") => Some(Function::Sigmoid),
        Some(_) => Some(Function::Softmax),
        None => None,
    };
    parameters.end("only function_to_apply and top_k are read; leave it out")?;
    let activation = match function {
        None => activation,
        Some(Function::None) => Activation::Raw,
        Some(_) => Activation::Probabilities(FUNCTION),
    };
    let shape = PredictShape { flat: false, function, top };
    Ok(CompatRequest { activation, length, ..CompatRequest::new(inputs, shape) })
}

/// Checks that the function fits a model with this many scores.
fn check_function(function: Option<Function>, scores: usize) -> Result<(), ApiError> {
    let reason = match function {
        Some(Function::Softmax) if scores == 1 => "this model has one score: send sigmoid or none",
        Some(Function::Sigmoid) if scores > 1 => "this model has several scores: send softmax or none",
        _ => return Ok(()),
    };
    Err(ApiError::unsupported(FUNCTION, reason))
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

/// Takes `truncate` and `truncation_direction`. By default the start is cut, because the score is read at the end of a
/// response.
///
/// # Errors
/// One of them has another type or value.
pub(super) fn truncate(fields: &mut Fields) -> Result<Option<(&'static str, LengthPolicy)>, ApiError> {
    let asked = fields.take::<bool>("truncate")?.unwrap_or(false);
    let direction = fields.take_one_of("truncation_direction", &["Left", "left", "Right", "right"])?;
    let truncation = match direction {
        Some("Right" | "right") => Truncation::Right,
        _ => Truncation::Left,
    };
    Ok(asked.then_some(("truncate", LengthPolicy { truncation, tokens: None })))
}

/// The texts, and whether there is one that is not in a list of its own.
fn inputs(value: Value, settings: &ServerSettings) -> Result<(Vec<Input>, bool), ApiError> {
    match value {
        Value::String(text) => Ok((vec![Input::at("inputs", InputText::Templated(text))], true)),
        Value::Array(list) if list.iter().any(Value::is_string) => {
            Ok((vec![sequence("inputs".into(), list.into())?], true))
        }
        Value::Array(list) => {
            check_count("inputs", list.len(), settings)?;
            let mut inputs = Vec::with_capacity(list.len());
            for (index, value) in list.into_iter().enumerate() {
                inputs.push(sequence(format!("inputs[{index}]"), value)?);
            }
            Ok((inputs, false))
        }
        other => Err(wrong_type("inputs", INPUTS, &other)),
    }
}

/// One text, or a prompt and its response.
fn sequence(path: String, value: Value) -> Result<Input, ApiError> {
    const EXPECTED: &str = "one text or two in a list";
    let Value::Array(list) = value else { return Err(wrong_type(path, EXPECTED, &value)) };
    let text = match list.as_slice() {
        [Value::String(text)] => InputText::Templated(text.clone()),
        [Value::String(prompt), Value::String(response)] => InputText::Pair(prompt.clone(), response.clone()),
        _ => return Err(not_texts(&path, EXPECTED, &list)),
    };
    Ok(Input::at(path, text))
}
