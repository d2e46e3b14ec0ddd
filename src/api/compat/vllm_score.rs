//! vLLM's format of `POST /score`: pairs of a prompt and a response.

use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;

use super::inputs::{Input, InputText};
use super::scoring::{CompatRequest, ScoredTexts};
use super::vllm::{List, activation, take_pair_fields};
use crate::api::error::ApiError;
use crate::api::fields::{Fields, wrong_type};
use crate::api::item_path::ItemPath;
use crate::api::messages;
use crate::api::middleware::limits::{check_and_reserve, check_count};
use crate::config::ServerSettings;

/// Names of the prompts and of the responses.
const NAMES: [(&str, &str); 4] =
    [("text_1", "text_2"), ("queries", "documents"), ("queries", "items"), ("data_1", "data_2")];

/// A text, a list of texts, or the same as objects with a list of text parts in `content`.
#[derive(Deserialize, ToSchema)]
#[serde(untagged)]
#[schema(as = ScoreTexts)]
#[expect(dead_code, reason = "the schema of what `texts` reads")]
pub(super) enum TextsSchema {
    Text(String),
    Texts(Vec<String>),
}

/// The score of a pair.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct PairScore {
    index: usize,
    object: &'static str,
    score: f64,
}

impl PairScore {
    pub(super) fn new(index: usize, score: f64) -> Self {
        Self { index, object: "score", score }
    }
}

/// The response.
///
/// # Errors
/// A text has no score: a bug in Assay.
pub(super) fn pairs<'a, F>(texts: &ScoredTexts<'a, F>) -> Result<List<'a, PairScore>, ApiError> {
    let mut data = Vec::with_capacity(texts.scored.len());
    for (index, score) in texts.singles()?.into_iter().enumerate() {
        data.push(PairScore::new(index, score));
    }
    Ok(List::new("score", texts.model.name, data, texts.usage()))
}

/// Reads the two lists: one prompt for all responses, or as many prompts as responses.
///
/// # Errors
/// A list is missing, empty or malformed, or their lengths do not fit.
pub(super) fn read_as<F>(
    shape: F,
    fields: &mut Fields,
    settings: &ServerSettings,
) -> Result<CompatRequest<F>, ApiError> {
    let present = NAMES.iter().find(|(first, second)| fields.has(first) && fields.has(second));
    let (first, second) = present.copied().unwrap_or_else(|| incomplete(fields));
    // Both are taken out before a missing one is reported, so that the error does not suggest the other in its place.
    let (one, two) = (fields.take(first)?, fields.take(second)?);
    let missing = |name| fields.missing(name, "a text or a list of texts");
    let prompts = texts(first, one.ok_or_else(|| missing(first))?, settings)?;
    let responses = texts(second, two.ok_or_else(|| missing(second))?, settings)?;
    if prompts.len() > 1 && prompts.len() != responses.len() {
        let reason = format!(
            "has {} texts and `{first}` has {}: send one text in `{first}` for all, or as many as in `{second}`",
            responses.len(),
            prompts.len()
        );
        return Err(ApiError::invalid(second, reason));
    }
    let repeated = if let [prompt] = prompts.as_slice() { prompt.text.len() } else { 0 };
    check_and_reserve(second, repeated, responses.iter().map(|response| response.text.len()), settings)?;
    let activation = activation(fields)?;
    let limits = take_pair_fields(fields)?;
    let mut inputs = Vec::with_capacity(responses.len());
    for (index, response) in responses.into_iter().enumerate() {
        let prompt = if prompts.len() == 1 { &prompts[0] } else { &prompts[index] };
        let text = InputText::Answer(prompt.text.clone(), response.text, limits);
        inputs.push(Input { text, path: ItemPath::pair(prompt.path.as_str(), response.path) });
    }
    Ok(CompatRequest { activation, ..CompatRequest::new(inputs, shape) })
}

/// The names that the error asks for if there are not two lists: the pair that has a name which is present, or which
/// another name resembles.
fn incomplete(fields: &Fields) -> (&'static str, &'static str) {
    let half = NAMES.iter().find(|(first, second)| fields.has(first) || fields.has(second));
    let meant = || NAMES.iter().find(|(first, _)| fields.resembling(first).is_some());
    half.or_else(meant).copied().unwrap_or(NAMES[0])
}

/// Whether one of the lists is there, or a name that resembles that of the second, but for `items`.
pub(super) fn is_meant(fields: &Fields) -> bool {
    NAMES
        .iter()
        .any(|(first, second)| fields.has(first) || *second != "items" && fields.resembling(second).is_some())
}

/// A text, and where it is in the request.
struct Located {
    path: String,
    text: String,
}

fn texts(name: &str, value: Value, settings: &ServerSettings) -> Result<Vec<Located>, ApiError> {
    let Value::Array(list) = value else {
        return Ok(vec![Located { text: text(name, value)?, path: name.to_owned() }]);
    };
    check_count(name, list.len(), settings)?;
    let mut texts = Vec::with_capacity(list.len());
    for (index, value) in list.into_iter().enumerate() {
        let path = format!("{name}[{index}]");
        texts.push(Located { text: text(&path, value)?, path });
    }
    Ok(texts)
}

/// A text, a list of text parts as SGLang takes it, or an object with such a list in `content`.
///
/// # Errors
/// It is something else, or a part is not text.
pub(super) fn text(path: &str, value: Value) -> Result<String, ApiError> {
    match value {
        Value::String(text) => Ok(text),
        Value::Array(list) if list.first().is_some_and(Value::is_object) => {
            messages::parts(path, list, messages::text_part)
        }
        object @ Value::Object(_) => {
            let mut fields = Fields::from_value(path.to_owned(), object)?;
            let text = messages::content(&mut fields, messages::text_part)?;
            fields.end("only `content` is read; leave it out")?;
            Ok(text)
        }
        other => Err(wrong_type(path, "a string, or an object with text parts in `content`", &other)),
    }
}
