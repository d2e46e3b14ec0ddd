//! Token ids of a text or of a list of texts, for the routes that count tokens.

use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::openapi::schema::{AnyOfBuilder, ObjectBuilder, Schema, Type};
use utoipa::{PartialSchema, ToSchema};

use crate::api::app::App;
use crate::api::error::ApiError;
use crate::api::fields::wrong_type;
use crate::api::item_path::ItemPath;
use crate::api::middleware::limits::check_count;
use crate::prompt::{PromptError, is_cancelled};

/// What these routes take.
pub(in crate::api) const TEXTS: &str = "a text or a list of texts";

/// A text, or a list of them.
#[derive(Deserialize, ToSchema)]
#[serde(untagged)]
#[expect(dead_code, reason = "the schema of what `prompt_tokens` reads")]
pub(in crate::api) enum TextOrTexts {
    Text(String),
    Texts(Vec<String>),
}

/// What a text has, or each text of a list.
#[derive(Debug, Serialize, ToSchema)]
#[serde(untagged)]
pub(in crate::api) enum OneOrEach<T> {
    One(T),
    Each(Vec<T>),
}

/// The schema of the ids of a text, or of each. Not `oneOf`, as derived: an empty list is both.
pub(in crate::api) fn ids_or_lists() -> Schema {
    AnyOfBuilder::new().item(Vec::<u32>::schema()).item(Vec::<Vec<u32>>::schema()).build().into()
}

/// The same of tokens as text, or null.
pub(in crate::api) fn tokens_or_lists() -> Schema {
    AnyOfBuilder::new()
        .item(Vec::<String>::schema())
        .item(Vec::<Vec<String>>::schema())
        .item(ObjectBuilder::new().schema_type(Type::Null))
        .build()
        .into()
}

impl<T> OneOrEach<T> {
    pub(in crate::api) fn map<U>(&self, of: impl Fn(&T) -> U) -> OneOrEach<U> {
        match self {
            Self::One(one) => OneOrEach::One(of(one)),
            Self::Each(list) => OneOrEach::Each(list.iter().map(of).collect()),
        }
    }
}

/// The tokens of the text in the field `name`, or of each text of a list there.
///
/// # Errors
/// It is something else.
pub(in crate::api) fn prompt_tokens(
    app: &App,
    name: &str,
    prompt: &Value,
    add_special_tokens: bool,
) -> Result<OneOrEach<Vec<u32>>, ApiError> {
    let list = match prompt {
        Value::String(text) => {
            return Ok(OneOrEach::One(text_tokens(app, name, text, add_special_tokens)?));
        }
        Value::Array(list) => list,
        other => return Err(wrong_type(name, TEXTS, other)),
    };
    check_count(name, list.len(), &app.settings.server)?;
    let mut each = Vec::with_capacity(list.len());
    for (index, value) in list.iter().enumerate() {
        if is_cancelled() {
            break;
        }
        let path = format!("{name}[{index}]");
        let Value::String(text) = value else { return Err(wrong_type(path, "a text", value)) };
        each.push(text_tokens(app, &path, text, add_special_tokens)?);
    }
    Ok(OneOrEach::Each(each))
}

/// The tokens of a text as the model is given it: those that are scored, or those that are continued. There may be none.
fn text_tokens(app: &App, path: &str, text: &str, add_special_tokens: bool) -> Result<Vec<u32>, ApiError> {
    let encoder = app.encoder()?;
    let tokens = if app.generator().is_ok() {
        encoder.encode_completion(text, add_special_tokens)
    } else if add_special_tokens {
        encoder.encode_templated(text)
    } else {
        encoder.encode_text(text)
    };
    match tokens {
        Err(PromptError::Empty) => Ok(Vec::new()),
        tokens => tokens.map_err(|error| ApiError::on_item(error, &ItemPath::field(path))),
    }
}
