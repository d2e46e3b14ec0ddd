//! SGLang's format of `POST /v1/score` for a reward model: the scores of each item after a query.

use std::sync::Arc;

use serde::Serialize;
use serde_json::Value;
use utoipa::ToSchema;

use super::inputs::{Input, InputText};
use super::query_item::QueryItem;
use super::scoring::{Activation, CompatRequest, ScoredTexts};
use crate::api::error::ApiError;
use crate::api::fields::{Fields, wrong_type};
use crate::api::item_path::ItemPath;
use crate::api::middleware::limits::{check_and_reserve, check_count};
use crate::api::wire::Usage;
use crate::config::ServerSettings;
use serde::Deserialize;

/// The field with the tokens whose probabilities are wanted.
pub(super) const LABELS: &str = "label_token_ids";

/// What items are joined with: a text, or token ids.
#[derive(Deserialize, ToSchema)]
#[serde(untagged)]
#[schema(as = Query)]
#[expect(dead_code, reason = "the schema of what `Parts::join` reads")]
pub(super) enum QuerySchema {
    Text(String),
    Tokens(Vec<u32>),
}

/// A text, a list of texts, or lists of token ids.
#[derive(Deserialize, ToSchema)]
#[serde(untagged)]
#[schema(as = Items)]
#[expect(dead_code, reason = "the schema of what `Parts::take` reads")]
pub(super) enum ItemsSchema {
    Text(String),
    Texts(Vec<String>),
    TokenLists(Vec<Vec<u32>>),
}

/// Scores, a row for each item.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = ScoreMatrix)]
pub(super) struct Matrix<'a> {
    object: &'static str,
    model: &'a str,
    /// From a reward model, its scores; else the probabilities of the label tokens.
    scores: Vec<Vec<f64>>,
    /// The labels' log-probabilities, if the request asks for them.
    token_logprobs: Option<Vec<Vec<f64>>>,
    usage: Usage,
}

impl<'a> Matrix<'a> {
    pub(super) fn new(
        model: &'a str,
        scores: Vec<Vec<f64>>,
        token_logprobs: Option<Vec<Vec<f64>>>,
        usage: Usage,
    ) -> Self {
        Self { object: "scoring", model, scores, token_logprobs, usage }
    }
}

/// The response.
pub(super) fn matrix<'a, F>(texts: &ScoredTexts<'a, F>) -> Matrix<'a> {
    let rows = texts.scored.iter().map(|scored| texts.values(scored)).collect();
    Matrix::new(texts.model.name, rows, None, texts.usage())
}

/// Items after or before a query.
pub(super) enum Joined {
    Texts {
        texts: Vec<String>,
        /// Bytes of each that are the query's.
        query_bytes: usize,
    },
    Tokens(Vec<QueryItem>),
}

/// Reads a request for the scores of a reward model.
///
/// # Errors
/// It is malformed, or asks for label tokens, which only a model that generates text has.
pub(super) fn read_as<F>(
    shape: F,
    fields: &mut Fields,
    settings: &ServerSettings,
) -> Result<CompatRequest<F>, ApiError> {
    let mut inputs = Vec::new();
    match Parts::take(fields, settings)?.join(settings)? {
        Joined::Texts { texts, query_bytes } => {
            for (index, text) in texts.into_iter().enumerate() {
                let path = item_path(index).with_bytes(query_bytes, text.len() - query_bytes);
                inputs.push(Input { text: InputText::Templated(text), path });
            }
        }
        Joined::Tokens(items) => {
            for (index, item) in items.into_iter().enumerate() {
                let path = item_path(index).with_bytes(item.query.len(), item.item.len());
                inputs.push(Input { text: InputText::QueryItem(item), path });
            }
        }
    }
    for name in [LABELS, "return_token_logprobs", "temperature"] {
        if fields.take::<Value>(name)?.is_some_and(|value| value != false && value.as_f64() != Some(1.0)) {
            return Err(no_labels(name));
        }
    }
    let activation = match fields.take::<bool>("apply_softmax")? {
        Some(true) => Activation::Probabilities("apply_softmax"),
        _ => Activation::Raw,
    };
    refuse_extraction(fields)?;
    Ok(CompatRequest { activation, ..CompatRequest::new(inputs, shape) })
}

/// The error about a field for labels that is sent to a reward model.
pub(super) fn no_labels(field: &str) -> ApiError {
    let reason = "the model served here has scores of its own, and none of tokens; send conversations to POST \
                  /v1/rewards, or serve an engine that generates text, without `judge`";
    ApiError::unsupported(field, reason)
}

/// Takes the fields that ask for scores at several tokens of an item, which must be off.
///
/// # Errors
/// One of them is on.
pub(super) fn refuse_extraction(fields: &mut Fields) -> Result<(), ApiError> {
    const NAMES: [&str; 4] = [
        "score_extraction_token",
        "embed_override_token_id",
        "query_embed_overrides",
        "item_embed_overrides",
    ];
    for name in NAMES {
        if fields.take::<Value>(name)?.is_some() {
            return Err(ApiError::unsupported(name, "an item is scored at its end; leave it out"));
        }
    }
    Ok(())
}

/// The fields `query`, `items` and `item_first`.
pub(super) struct Parts {
    pub(super) query: Option<Value>,
    pub(super) items: Vec<Value>,
    item_first: bool,
}

impl Parts {
    /// Takes them out of a request.
    ///
    /// # Errors
    /// One of them is missing or has another type.
    pub(super) fn take(fields: &mut Fields, settings: &ServerSettings) -> Result<Self, ApiError> {
        const EXPECTED: &str = "a list of texts or of lists of token ids";
        let items = match fields.take("items")? {
            Some(Value::Array(list)) => list,
            Some(text @ Value::String(_)) => vec![text],
            Some(other) => return Err(wrong_type("items", EXPECTED, &other)),
            None => return Err(fields.missing("items", EXPECTED)),
        };
        // SGLang answers no items with no scores.
        if !items.is_empty() {
            check_count("items", items.len(), settings)?;
        }
        let item_first = fields.take::<bool>("item_first")?.unwrap_or(false);
        Ok(Self { query: fields.take("query")?, items, item_first })
    }

    /// Joins the query with each item.
    ///
    /// # Errors
    /// An item is malformed, texts and token ids are mixed, or the result is too large.
    pub(super) fn join(self, settings: &ServerSettings) -> Result<Joined, ApiError> {
        let Self { query, items, item_first } = self;
        if items.is_empty() {
            return Ok(Joined::Tokens(Vec::new()));
        }
        if items.first().is_some_and(Value::is_array) {
            let query = match query {
                None => Vec::new(),
                Some(Value::Array(ids)) => ids,
                Some(other) => {
                    return Err(wrong_type("query", "a list of token ids, as the items are", &other));
                }
            };
            check_and_reserve("items", size_of::<u32>() * query.len(), items.iter().map(|_| 0), settings)?;
            return Ok(Joined::Tokens(token_lists(&query.into(), items, item_first)?));
        }
        let query = match query {
            None => String::new(),
            Some(Value::String(text)) => text,
            Some(other) => return Err(wrong_type("query", "a text, as the items are", &other)),
        };
        let texts = texts(items)?;
        check_and_reserve("items", query.len(), texts.iter().map(String::len), settings)?;
        let query_bytes = query.len();
        let join = |item: String| if item_first { item + &query } else { query.clone() + &item };
        Ok(Joined::Texts { texts: texts.into_iter().map(join).collect(), query_bytes })
    }
}

/// Where an item is, with the query that it is joined to.
pub(super) fn item_path(index: usize) -> ItemPath {
    ItemPath::pair("query", format!("items[{index}]"))
}

fn texts(items: Vec<Value>) -> Result<Vec<String>, ApiError> {
    let mut texts = Vec::with_capacity(items.len());
    for (index, item) in items.into_iter().enumerate() {
        match item {
            Value::String(text) => texts.push(text),
            other => {
                let expected =
                    if index == 0 { "a text or a list of token ids" } else { "a text, as the first item is" };
                return Err(wrong_type(format!("items[{index}]"), expected, &other));
            }
        }
    }
    Ok(texts)
}

fn token_lists(
    query: &Arc<[Value]>,
    items: Vec<Value>,
    item_first: bool,
) -> Result<Vec<QueryItem>, ApiError> {
    let mut lists = Vec::with_capacity(items.len());
    for (index, item) in items.into_iter().enumerate() {
        let Value::Array(item) = item else {
            let path = format!("items[{index}]");
            return Err(wrong_type(path, "a list of token ids, as the first item is", &item));
        };
        lists.push(QueryItem { query: query.clone(), item, item_first });
    }
    Ok(lists)
}
