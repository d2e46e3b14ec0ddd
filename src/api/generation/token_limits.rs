//! Which tokens a text may have, and which of them are more likely: `allowed_token_ids` and `logit_bias`.

use serde_json::{Map, Value};

use crate::api::error::ApiError;
use crate::api::fields::{Fields, wrong_type};
use crate::api::token_ids;

/// Maximum number of names that an error repeats because they are not token ids.
const MAX_NAMES: usize = 5;

/// Takes `allowed_token_ids`: the only tokens of the text; all if empty. `must_go_on` says that the text may not
/// end with its first token, which is one of `end_tokens`.
///
/// # Errors
/// One is not a token id of the model, or they leave no token to choose.
pub(super) fn allowed_tokens(
    fields: &mut Fields,
    vocab_size: usize,
    (must_go_on, end_tokens): (bool, &[u32]),
) -> Result<Vec<u32>, ApiError> {
    const NAME: &str = "allowed_token_ids";
    let list = fields.take::<Vec<Value>>(NAME)?.unwrap_or_default();
    if list.is_empty() {
        return Ok(Vec::new());
    }
    let tokens = token_ids::read(NAME, &list, vocab_size)?;
    if must_go_on && tokens.iter().all(|token| end_tokens.contains(token)) {
        let reason = "are all tokens that end the text, and `min_tokens` excludes these: add another token, or \
                      leave out `min_tokens`";
        return Err(ApiError::invalid(NAME, reason));
    }
    Ok(tokens)
}

/// Takes `logit_bias`: what is added to the logits of tokens.
///
/// # Errors
/// A name is not a token id of the model, or a value is not a number in OpenAI's range.
pub(super) fn logit_bias(fields: &mut Fields, vocab_size: usize) -> Result<Vec<(u32, f32)>, ApiError> {
    let map: Map<String, Value> = match fields.take::<Value>("logit_bias")? {
        None => return Ok(vec![]),
        Some(Value::Object(map)) => map,
        Some(other) => return Err(wrong_type("logit_bias", "an object of token ids and numbers", &other)),
    };
    check_names(&map)?;
    let mut biases = Vec::with_capacity(map.len());
    for (id, bias) in map {
        let path = format!("logit_bias.{id}");
        let id = id.parse::<i64>().map_or(Value::String(id), Value::from);
        let token = token_ids::read_one(&path, &id, vocab_size)?;
        match bias.as_f64() {
            Some(bias) if (-100.0..=100.0).contains(&bias) => biases.push((token, bias as f32)),
            _ => return Err(ApiError::invalid(path, "must be a number from -100 to 100")),
        }
    }
    Ok(biases)
}

/// Refuses several names that are not numbers at once; one of them is left to the error about it.
fn check_names(map: &Map<String, Value>) -> Result<(), ApiError> {
    let wrong: Vec<_> = map.keys().filter(|name| name.parse::<i64>().is_err()).collect();
    if wrong.len() < 2 {
        return Ok(());
    }
    let shown: Vec<_> = wrong.iter().take(MAX_NAMES).map(|name| format!("`{name}`")).collect();
    let more = if wrong.len() > MAX_NAMES { " and others" } else { "" };
    let reason =
        format!("has names that are not token ids: {}{more}; send numbers as names", shown.join(", "));
    Err(ApiError::invalid("logit_bias", reason))
}
