//! What ends a text: the request's own texts and tokens, and the model's end tokens.

use std::sync::Arc;

use serde_json::Value;

use crate::api::error::ApiError;
use crate::api::fields::{Fields, wrong_type};
use crate::api::token_ids;
use crate::serving::{Generator, Stops};

/// Maximum number of stop strings, as in OpenAI's API.
const MAX_STOPS: usize = 4;

/// Takes `stop`, `stop_token_ids`, `ignore_eos`, and whether what ends the text is part of it: vLLM's
/// `include_stop_str_in_output`, which SGLang calls `no_stop_trim`. With them come all tokens that end the text.
///
/// # Errors
/// A field has another type, a stop string is empty, or there are too many.
pub(super) fn take(fields: &mut Fields, generator: &Generator) -> Result<(Vec<u32>, Stops), ApiError> {
    let ignore_eos = fields.take("ignore_eos")?.unwrap_or(false);
    let mut end_tokens = if ignore_eos { Vec::new() } else { generator.end_tokens().to_vec() };
    let mut tokens = stop_tokens(fields, generator)?;
    tokens.retain(|token| !end_tokens.contains(token));
    end_tokens.extend(&tokens);
    let mut keep = false;
    for name in ["include_stop_str_in_output", "no_stop_trim"] {
        keep |= fields.take(name)?.unwrap_or(false);
    }
    Ok((end_tokens, Stops { texts: texts(fields)?, tokens: tokens.into(), keep }))
}

fn stop_tokens(fields: &mut Fields, generator: &Generator) -> Result<Vec<u32>, ApiError> {
    let list = fields.take::<Vec<Value>>("stop_token_ids")?.unwrap_or_default();
    let mut tokens = Vec::with_capacity(list.len());
    for (index, value) in list.iter().enumerate() {
        let token = token_ids::read_one(&format!("stop_token_ids[{index}]"), value, generator.vocab_size())?;
        if !tokens.contains(&token) {
            tokens.push(token);
        }
    }
    Ok(tokens)
}

fn texts(fields: &mut Fields) -> Result<Arc<[String]>, ApiError> {
    let list = match fields.take::<Value>("stop")? {
        None => vec![],
        Some(Value::Array(list)) => list,
        Some(one @ Value::String(_)) => vec![one],
        Some(other) => return Err(wrong_type("stop", "a string or a list of strings", &other)),
    };
    if list.len() > MAX_STOPS {
        let reason = format!("has {} strings: send up to {MAX_STOPS}", list.len());
        return Err(ApiError::invalid("stop", reason));
    }
    let mut stops = Vec::with_capacity(list.len());
    for (index, value) in list.into_iter().enumerate() {
        match value {
            Value::String(text) if text.is_empty() => {
                return Err(ApiError::invalid("stop", "has an empty string: leave it out"));
            }
            Value::String(text) => stops.push(text),
            other => return Err(wrong_type(format!("stop[{index}]"), "a string", &other)),
        }
    }
    Ok(stops.into())
}
