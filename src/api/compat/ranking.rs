//! What is common to the routes that rank responses: Cohere's and similar ones, NVIDIA's, SGLang's and Infinity's.

use serde_json::Value;

use super::inputs::{Input, InputText, PartLimits};
use super::vllm_score;
use crate::api::error::ApiError;
use crate::api::fields::Fields;
use crate::api::item_path::ItemPath;
use crate::api::messages::{Content, Part};
use crate::api::middleware::limits::{check_and_reserve, check_count};
use crate::config::ServerSettings;
use serde::Deserialize;
use utoipa::ToSchema;

/// A text, alone, in an object or in parts.
#[derive(Deserialize, ToSchema)]
#[serde(untagged)]
#[schema(as = Document)]
#[expect(dead_code, reason = "the schema of what `document` reads")]
pub(super) enum DocumentSchema {
    Text(String),
    Object(DocumentTextSchema),
    Parts(DocumentPartsSchema),
    List(Vec<Part>),
}

#[derive(Deserialize, ToSchema)]
#[schema(as = DocumentText)]
#[expect(dead_code, reason = "the schema of what `document` reads")]
pub(super) struct DocumentTextSchema {
    text: String,
}

#[derive(Deserialize, ToSchema)]
#[schema(as = DocumentParts)]
#[expect(dead_code, reason = "the schema of what `document` reads")]
pub(super) struct DocumentPartsSchema {
    content: Content,
}

/// A document, or a list of them.
#[derive(Deserialize, ToSchema)]
#[serde(untagged)]
#[schema(as = Documents)]
#[expect(dead_code, reason = "the schema of what `documents` reads")]
pub(super) enum DocumentsSchema {
    Text(String),
    Object(DocumentTextSchema),
    Parts(DocumentPartsSchema),
    List(Vec<DocumentSchema>),
}

/// Takes `documents`: a text, or a list of texts or of objects that hold one.
///
/// # Errors
/// It is missing, empty or too long, or holds something else.
pub(super) fn documents(fields: &mut Fields, settings: &ServerSettings) -> Result<Vec<String>, ApiError> {
    let list = match fields.take("documents")? {
        Some(Value::Array(list)) => list,
        Some(one) => return Ok(vec![document("documents", one)?]),
        None => {
            return Err(fields.missing("documents", "a list of texts, which are the responses to `query`"));
        }
    };
    check_count("documents", list.len(), settings)?;
    let mut texts = Vec::with_capacity(list.len());
    for (index, value) in list.into_iter().enumerate() {
        texts.push(document(&format!("documents[{index}]"), value)?);
    }
    Ok(texts)
}

/// Takes `query`, which may be an object as documents are.
///
/// # Errors
/// It is missing, or holds something else than text.
pub(super) fn query(fields: &mut Fields) -> Result<String, ApiError> {
    document("query", fields.require_value("query", "a string, or an object with a `text`")?)
}

/// A text, an object with a `text`, or one with text parts in `content`.
pub(super) fn document(path: &str, value: Value) -> Result<String, ApiError> {
    match value {
        object @ Value::Object(_) if object.get("content").is_none() => {
            let mut fields = Fields::from_value(path.to_owned(), object)?;
            let text = fields.require("text")?;
            fields.end("only `text` is read; leave it out")?;
            Ok(text)
        }
        other => vllm_score::text(path, other),
    }
}

/// A conversation for each response in the list `list` to `query`.
///
/// # Errors
/// They are too large together.
pub(super) fn conversations(
    query: &str,
    list: &str,
    responses: &[String],
    limits: PartLimits,
    settings: &ServerSettings,
) -> Result<Vec<Input>, ApiError> {
    check_and_reserve(list, query.len(), responses.iter().map(String::len), settings)?;
    let mut inputs = Vec::with_capacity(responses.len());
    for (index, response) in responses.iter().enumerate() {
        let text = InputText::Answer(query.to_owned(), response.clone(), limits);
        let path = ItemPath::pair("query", format!("{list}[{index}]"));
        inputs.push(Input { text, path });
    }
    Ok(inputs)
}

/// What a request to rank asks of its response.
pub(super) struct RankingShape {
    /// Maximum number of results; 0 for all.
    pub(super) top: usize,
    /// The candidates, if they are returned.
    documents: Option<Vec<String>>,
}

impl RankingShape {
    /// Takes `top_n`, and the field `flag`, which says whether the candidates are returned; `default` if it is
    /// absent.
    ///
    /// # Errors
    /// `top_n` is negative, or `flag` is not a boolean.
    pub(super) fn take(
        fields: &mut Fields,
        (flag, default): (&'static str, bool),
        documents: Vec<String>,
    ) -> Result<Self, ApiError> {
        let send_back = fields.take::<bool>(flag)?.unwrap_or(default);
        Ok(Self { top: top(fields, "top_n")?, documents: send_back.then_some(documents) })
    }

    /// Takes out the response with this index, if the client wants it back.
    pub(super) fn take_document(&mut self, index: usize) -> Option<String> {
        self.documents.as_mut()?.get_mut(index).map(std::mem::take)
    }
}

/// Takes the number of results to return; 0 returns all.
///
/// # Errors
/// It is negative.
pub(super) fn top(fields: &mut Fields, name: &'static str) -> Result<usize, ApiError> {
    let top = fields.take::<i64>(name)?.unwrap_or(0);
    usize::try_from(top)
        .map_err(|_| ApiError::invalid(fields.path(name), "must be a number of results, or 0 for all"))
}

/// Keeps the first `top`; all if it is 0.
pub(super) fn keep(mut order: Vec<(usize, f64)>, top: usize) -> Vec<(usize, f64)> {
    if top > 0 {
        order.truncate(top);
    }
    order
}
