//! Parses `tokenizer.json`.

use tokenizers::Tokenizer;

use super::backtracking::endless_pattern;
use super::normalization::{LARGEST_GROWTH, growth};
use super::tokenizer_error::without_panics;

/// Characters of a pattern that an error shows.
const LONGEST_SHOWN: usize = 200;

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
        #[serde(default)]
        pre_tokenizer: serde_json::Value,
    }
    let Checked { normalizer, pre_tokenizer } = serde_json::from_str(json)?;
    if growth(&normalizer) > LARGEST_GROWTH {
        return Err("its normalizer makes texts grow without limit".into());
    }
    if let Some(pattern) = endless_pattern(&normalizer).or_else(|| endless_pattern(&pre_tokenizer)) {
        let shown: String = pattern.chars().take(LONGEST_SHOWN).collect();
        return Err(format!(
            "its pattern {shown:?} backtracks without bound, so that a text could take years"
        )
        .into());
    }
    without_panics(|| json.parse())
}
