//! The prompts of `POST /v1/completions`.

use serde_json::Value;

use crate::api::error::ApiError;
use crate::api::fields::wrong_type;
use crate::api::item_path::ItemPath;
use crate::api::token_ids;
use crate::prompt::{Fit, Prompt, Truncation};
use crate::serving::Generator;

/// What `prompt` may be.
pub(super) const EXPECTED: &str = "a text, a list of texts, token ids or a list of lists of them";
/// Maximum number of prompts of one request.
pub(super) const MAX_PROMPTS: usize = 1024;

/// A prompt, and where it is in the request.
pub(super) struct EncodedPrompt {
    pub(super) path: ItemPath,
    pub(super) text: String,
    pub(super) tokens: Vec<u32>,
}

/// How prompts are encoded.
pub(super) struct PromptOptions {
    pub(super) add_special_tokens: bool,
    /// How long they may be, if the request says so.
    pub(super) fit: Option<Fit>,
}

/// The prompts of a request before they are encoded: texts or lists of token ids, and where each is.
///
/// # Errors
/// There are none, or too many.
pub(super) fn list(value: Value) -> Result<Vec<(String, Value)>, ApiError> {
    let list = match value {
        Value::Array(list) if list.first().is_none_or(|first| !first.is_number()) => list,
        single => return Ok(vec![("prompt".to_owned(), single)]),
    };
    if list.is_empty() {
        return Err(ApiError::invalid("prompt", "is empty: send at least one prompt"));
    }
    if list.len() > MAX_PROMPTS {
        let reason = format!("has {} prompts: send up to {MAX_PROMPTS}", list.len());
        return Err(ApiError::invalid("prompt", reason));
    }
    let mut prompts = Vec::with_capacity(list.len());
    for (index, value) in list.into_iter().enumerate() {
        prompts.push((format!("prompt[{index}]"), value));
    }
    Ok(prompts)
}

/// Encodes the prompt at `path`: a text, or a list of token ids.
///
/// # Errors
/// It is neither, or cannot be encoded.
pub(super) fn encode(
    generator: &Generator,
    path: String,
    value: Value,
    options: &PromptOptions,
) -> Result<EncodedPrompt, ApiError> {
    let (text, tokens) = match value {
        Value::String(text) => {
            let field = ItemPath::field(path.as_str());
            let encoder = generator.encoder();
            let whole = Fit { limit: generator.limits().longest(), truncation: Truncation::Error };
            let fits = encoder.check_size(&text, options.fit.unwrap_or(whole));
            let encoded = fits.and_then(|()| encoder.encode_completion(&text, options.add_special_tokens));
            (Some(text), encoded.map_err(|error| ApiError::on_item(error, &field))?)
        }
        Value::Array(ids) => (None, token_ids::read(&path, &ids, generator.vocab_size())?),
        other => return Err(wrong_type(path, "a string or a list of token ids", &other)),
    };
    let Prompt { tokens, truncated, .. } = match options.fit {
        Some(fit) => generator.encoder().cut(tokens, fit),
        None => tokens.into(),
    };
    let text = text.filter(|_| truncated.is_none()).unwrap_or_else(|| generator.vocabulary().decode(&tokens));
    Ok(EncodedPrompt { path: ItemPath::field(path), text, tokens })
}
