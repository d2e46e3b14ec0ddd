//! SGLang's native format of `POST /classify`: the cards of well-known reward models and AReaL send it.

use serde::Serialize;
use serde_json::Value;
use utoipa::ToSchema;
use uuid::Uuid;

use super::inputs::{Input, InputText, not_texts};
use super::scoring::{Activation, ScoredTexts};
use crate::api::error::ApiError;
use crate::api::fields::{Fields, wrong_type};
use crate::api::middleware::limits::check_count;
use crate::config::ServerSettings;
use crate::serving::Scored;
use serde::Deserialize;

/// An id for all texts, or one for each.
#[derive(Deserialize, ToSchema)]
#[serde(untagged)]
#[schema(as = Rid)]
#[expect(dead_code, reason = "the schema of what `rids` reads")]
pub(super) enum RidSchema {
    One(String),
    Each(Vec<String>),
}

/// What the response needs in addition to the scores.
pub(super) struct NativeShape {
    /// Whether one text was sent, not a list, so that one object is the response.
    single: bool,
    /// The ids that the client gave to its texts.
    rids: Option<Vec<String>>,
}

/// A text's scores, in the field where an embedding model returns its embedding.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Embedded {
    /// In the model's order.
    embedding: Vec<f64>,
    meta_info: MetaInfo,
}

#[derive(Debug, Serialize, ToSchema)]
struct MetaInfo {
    /// The `rid` of the text.
    id: String,
    finish_reason: FinishReason,
    prompt_tokens: usize,
    /// How many of the prompt's tokens were not computed for this text, but shared or found in the cache.
    cached_tokens: usize,
    /// Seconds in the queue and in the engine.
    e2e_latency: f64,
}

/// SGLang's finish reason of a text after which nothing is generated.
#[derive(Debug, Serialize, ToSchema)]
struct FinishReason {
    r#type: &'static str,
    length: usize,
}

impl NativeShape {
    pub(super) fn is_single(&self) -> bool {
        self.single
    }

    fn rid(&self, index: usize) -> String {
        let rid = self.rids.as_ref().and_then(|rids| rids.get(index));
        rid.cloned().unwrap_or_else(|| Uuid::new_v4().simple().to_string())
    }
}

/// The scores of each text.
pub(super) fn embedded<F>(texts: &ScoredTexts<'_, F>, shape: &NativeShape) -> Vec<Embedded> {
    let mut embedded = Vec::with_capacity(texts.scored.len());
    for (index, scored) in texts.scored.iter().enumerate() {
        embedded.push(Embedded {
            embedding: texts.values(scored),
            meta_info: meta_info(scored, shape.rid(index)),
        });
    }
    embedded
}

fn meta_info(scored: &Scored, id: String) -> MetaInfo {
    MetaInfo {
        id,
        finish_reason: FinishReason { r#type: "length", length: 0 },
        prompt_tokens: scored.prompt_tokens,
        cached_tokens: scored.cached_tokens,
        e2e_latency: (scored.queue_time + scored.inference_time).as_secs_f64(),
    }
}

/// Reads `text`, or else `input_ids`, and `rid`.
///
/// # Errors
/// Both are there or one of them is malformed.
pub(super) fn read(
    fields: &mut Fields,
    settings: &ServerSettings,
) -> Result<(Vec<Input>, NativeShape), ApiError> {
    let (single, inputs) = match (fields.take("text")?, fields.take("input_ids")?) {
        (Some(_), Some(_)) => {
            return Err(ApiError::invalid("input_ids", "cannot be combined with `text`: send one of them"));
        }
        (Some(Value::String(text)), _) => (true, vec![Input::at("text", InputText::Templated(text))]),
        (Some(Value::Array(list)), _) => (false, list_of("text", list, settings, text)?),
        (_, Some(Value::Array(list))) if list.first().is_some_and(Value::is_number) => {
            (true, vec![Input::at("input_ids", InputText::Tokens(list))])
        }
        (_, Some(Value::Array(list))) => (false, list_of("input_ids", list, settings, ids)?),
        (Some(other), _) => return Err(wrong_type("text", "a text or a list of texts", &other)),
        (_, Some(other)) => {
            return Err(wrong_type("input_ids", "token ids or a list of lists of them", &other));
        }
        (None, None) => {
            return Err(ApiError::invalid("text", "is missing or null: send a text or a list of texts"));
        }
    };
    let rids = rids(fields, single, inputs.len())?;
    Ok((inputs, NativeShape { single, rids }))
}

/// Takes `use_activation`, which is vLLM's. SGLang gives raw scores unless it is there.
///
/// # Errors
/// It is not a boolean.
pub(super) fn activation(fields: &mut Fields) -> Result<Activation, ApiError> {
    Ok(Activation::take(fields, "use_activation")?.or_raw())
}

fn list_of(
    name: &str,
    list: Vec<Value>,
    settings: &ServerSettings,
    read: fn(&str, Value) -> Result<InputText, ApiError>,
) -> Result<Vec<Input>, ApiError> {
    check_count(name, list.len(), settings)?;
    let mut inputs = Vec::with_capacity(list.len());
    for (index, value) in list.into_iter().enumerate() {
        let path = format!("{name}[{index}]");
        let text = read(&path, value)?;
        inputs.push(Input::at(path, text));
    }
    Ok(inputs)
}

/// A text, or a prompt and its response.
fn text(path: &str, value: Value) -> Result<InputText, ApiError> {
    const EXPECTED: &str = "a text, or a prompt and its response in a list";
    match value {
        Value::String(text) => Ok(InputText::Templated(text)),
        Value::Array(pair) => match pair.as_slice() {
            [Value::String(prompt), Value::String(response)] => {
                Ok(InputText::Pair(prompt.clone(), response.clone()))
            }
            _ => Err(not_texts(path, EXPECTED, &pair)),
        },
        other => Err(wrong_type(path, EXPECTED, &other)),
    }
}

fn ids(path: &str, value: Value) -> Result<InputText, ApiError> {
    match value {
        Value::Array(ids) => Ok(InputText::Tokens(ids)),
        other => Err(wrong_type(path, "a list of token ids", &other)),
    }
}

/// Takes `rid`: the id of the text, or a list of as many ids as there are texts.
fn rids(fields: &mut Fields, single: bool, texts: usize) -> Result<Option<Vec<String>>, ApiError> {
    const EXPECTED: &str = "a string, or, with a list of texts, a list of as many strings";
    match fields.take("rid")? {
        None => Ok(None),
        Some(Value::String(rid)) if single => Ok(Some(vec![rid])),
        // A single id for a list becomes the prefix of each text's id.
        Some(Value::String(rid)) => Ok(Some((0..texts).map(|index| format!("{rid}_{index}")).collect())),
        Some(Value::Array(list)) if list.len() == texts && list.iter().all(Value::is_string) => {
            Ok(Some(list.iter().filter_map(Value::as_str).map(str::to_owned).collect()))
        }
        Some(_) => Err(ApiError::invalid("rid", format!("must be {EXPECTED}"))),
    }
}
