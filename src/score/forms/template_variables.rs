//! Columns for the chat template: `tools` and `chat_template_kwargs`, as TRL's trainers read them.

use serde_json::{Map, Value};

use super::super::ConversationError;
use super::super::conversation::{list, structure};
use super::view::RowView;
use crate::prompt::TemplateVariables;

const TOOLS: &str = "tools";
const KWARGS: &str = "chat_template_kwargs";

/// The variables that a row gives to the chat template for all of its conversations.
pub(super) fn read(view: &RowView) -> Result<TemplateVariables, ConversationError> {
    let mut given = match view.find(KWARGS).filter(|value| !is_empty(value)) {
        None => Map::new(),
        Some(value) => match structure(&value) {
            Some(Value::Object(given)) => given,
            _ => return Err(ConversationError::NotVariables),
        },
    };
    if let Some(value) = view.find(TOOLS).filter(|value| !is_empty(value)) {
        let tools = list(&value).filter(|tools| tools.iter().all(Value::is_object));
        let tools = tools.ok_or(ConversationError::NotTools)?;
        if !tools.is_empty() {
            given.insert(TOOLS.to_owned(), tools.into_iter().map(without_nulls).collect());
        }
    }
    TemplateVariables::new(given)
        .map_err(|(name, error)| ConversationError::Variable { name, reason: error.to_string() })
}

fn is_empty(value: &Value) -> bool {
    matches!(value, Value::String(text) if text.trim().is_empty())
}

/// A tool without its nulls: Parquet files have them for each field that another tool of the column has.
fn without_nulls(value: Value) -> Value {
    match value {
        Value::Object(fields) => {
            let fields = fields.into_iter().filter(|(_, value)| !value.is_null());
            fields.map(|(name, value)| (name, without_nulls(value))).collect::<Map<_, _>>().into()
        }
        Value::Array(items) => items.into_iter().map(without_nulls).collect(),
        other => other,
    }
}
