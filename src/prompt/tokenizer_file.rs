//! Parses `tokenizer.json`.

use tokenizers::Tokenizer;

use super::normalization::{LARGEST_GROWTH, growth};
use super::tokenizer_error::without_panics;

/// Parses the text of `tokenizer.json`.
///
/// # Errors
/// The text is not JSON, or not a tokenizer.
pub(crate) fn parse(json: &str) -> tokenizers::Result<Tokenizer> {
    /// The field that is checked before the crate may run it.
    #[derive(serde::Deserialize)]
    struct Checked {
        #[serde(default)]
        normalizer: serde_json::Value,
    }
    let Checked { normalizer } = serde_json::from_str(json)?;
    if growth(&normalizer) > LARGEST_GROWTH {
        return Err("its normalizer makes texts grow without limit".into());
    }
    without_panics(|| json.parse())
}
