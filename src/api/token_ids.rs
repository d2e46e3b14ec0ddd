//! Token ids in requests.

use serde_json::Value;

use super::error::ApiError;
use super::fields::wrong_type;

/// Reads a list of token ids at `path` of a request to a model with `vocab_size` tokens.
///
/// # Errors
/// The list is empty, or one of its items is not a token id of the model; the error names it by its index.
pub(super) fn read(path: &str, list: &[Value], vocab_size: usize) -> Result<Vec<u32>, ApiError> {
    if list.is_empty() {
        return Err(ApiError::invalid(path, "is empty: send at least one token id"));
    }
    let mut ids = Vec::with_capacity(list.len());
    for (index, value) in list.iter().enumerate() {
        match parse(value, vocab_size) {
            Some(id) => ids.push(id),
            None => return Err(not_an_id(format!("{path}[{index}]"), value, vocab_size)),
        }
    }
    Ok(ids)
}

/// Reads one token id at `path`.
///
/// # Errors
/// It is not a token id of the model.
pub(super) fn read_one(path: &str, value: &Value, vocab_size: usize) -> Result<u32, ApiError> {
    parse(value, vocab_size).ok_or_else(|| not_an_id(path.to_owned(), value, vocab_size))
}

fn parse(value: &Value, vocab_size: usize) -> Option<u32> {
    let id = value.as_u64().and_then(|id| u32::try_from(id).ok())?;
    ((id as usize) < vocab_size).then_some(id)
}

fn not_an_id(path: String, value: &Value, vocab_size: usize) -> ApiError {
    match value {
        Value::Number(number) => {
            let last = vocab_size.saturating_sub(1);
            let reason = format!("is {number}, and the model's token ids are whole numbers from 0 to {last}");
            ApiError::invalid(path, reason)
        }
        other => wrong_type(path, "a token id", other),
    }
}
