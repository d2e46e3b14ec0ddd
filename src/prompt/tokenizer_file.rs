//! Parses `tokenizer.json`.

use serde_json::Value;
use tokenizers::Tokenizer;

use super::backtracking::endless_pattern;
use super::normalization::{LARGEST_GROWTH, growth};
use super::tokenizer_error::without_panics;
use super::tokenizer_model::TokenizerModel;

/// Characters of a pattern that an error shows.
const LONGEST_SHOWN: usize = 200;

/// Parses the text of `tokenizer.json`.
///
/// # Errors
/// The text is not JSON, or not a tokenizer.
pub(crate) fn parse(json: &str) -> tokenizers::Result<Tokenizer> {
    /// The fields that are checked before the crate may run them.
    #[derive(serde::Deserialize)]
    struct Checked {
        #[serde(default)]
        normalizer: Value,
        #[serde(default)]
        pre_tokenizer: Value,
        #[serde(default)]
        post_processor: Value,
        #[serde(default)]
        model: Option<TokenizerModel>,
    }
    let Checked { normalizer, pre_tokenizer, post_processor, model } = serde_json::from_str(json)?;
    if let Some(token) = undefined_token(&post_processor) {
        return Err(format!(
            "its post-processor puts {token:?} around texts, but special_tokens does not say which ids that has"
        )
        .into());
    }
    if growth(&normalizer) > LARGEST_GROWTH {
        return Err("its normalizer makes texts grow without limit".into());
    }
    if let Some(pattern) = endless_pattern(&normalizer).or_else(|| endless_pattern(&pre_tokenizer)) {
        return Err(format!(
            "its pattern {:?} backtracks without bound, so that a text could take years",
            shown(&pattern)
        )
        .into());
    }
    if let Some((first, second)) = model.as_ref().and_then(TokenizerModel::same_id) {
        return Err(
            format!("its vocabulary gives {:?} and {:?} the same id", shown(first), shown(second)).into()
        );
    }
    if let Some((first, second)) = model.as_ref().and_then(TokenizerModel::unusable_merge) {
        return Err(format!(
            "it merges {:?} and {:?} into a token that its vocabulary does not have",
            shown(first),
            shown(second)
        )
        .into());
    }
    without_panics(|| json.parse())
}

/// The start of a text, for an error.
fn shown(text: &str) -> String {
    text.chars().take(LONGEST_SHOWN).collect()
}

/// A token of a post-processor's template without an entry in its `special_tokens`; the tokenizers crate panics on it.
fn undefined_token(processor: &Value) -> Option<&str> {
    if let Some(processors) = processor.get("processors").and_then(Value::as_array) {
        return processors.iter().find_map(undefined_token);
    }
    if processor.get("type").and_then(Value::as_str) != Some("TemplateProcessing") {
        return None;
    }
    let defined = |token: &&str| processor["special_tokens"].get(*token).is_some();
    let pieces = ["single", "pair"].into_iter().filter_map(|template| processor.get(template)?.as_array());
    let mut tokens = pieces.flatten().filter_map(|piece| piece.get("SpecialToken")?.get("id")?.as_str());
    tokens.find(|token| !defined(token))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_merge_into_a_token_that_is_not_there_is_refused_by_its_parts() {
        let file = |merges: serde_json::Value| {
            let model = json!({"type": "BPE", "vocab": {"a": 0, "b": 1, "ab": 2}, "merges": merges});
            json!({"version": "1.0", "added_tokens": [], "normalizer": null, "pre_tokenizer": null,
                "post_processor": null, "decoder": null, "truncation": null, "padding": null, "model": model})
        };
        assert!(parse(&file(json!([["a", "b"]])).to_string()).is_ok());
        let error = parse(&file(json!([["a", "b"], ["ab", "ab"]])).to_string()).err().unwrap().to_string();
        assert_eq!(error, "it merges \"ab\" and \"ab\" into a token that its vocabulary does not have");
    }

    #[test]
    fn two_tokens_with_one_id_are_refused_by_their_texts() {
        let model = json!({"type": "BPE", "vocab": {"a": 0, "b": 1, "ab": 1}, "merges": []});
        let error = parse(&json!({"version": "1.0", "model": model}).to_string()).err().unwrap().to_string();
        assert!(error.starts_with("its vocabulary gives "), "{error}");
    }

    #[test]
    fn a_post_processor_with_a_token_that_it_does_not_define_is_refused_by_the_token() {
        let template =
            json!([{"SpecialToken": {"id": "[CLS]", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}]);
        let entry = json!({"id": "[CLS]", "ids": [0], "tokens": ["[CLS]"]});
        for (special_tokens, refused) in [(json!({}), true), (json!({"[CLS]": entry}), false)] {
            let processor = json!({"type": "TemplateProcessing", "single": template, "pair": template,
                "special_tokens": special_tokens});
            let model = json!({"type": "WordLevel", "vocab": {"[CLS]": 0}, "unk_token": "[CLS]"});
            let within = json!({"type": "Sequence", "processors": [processor]});
            for processor in [processor, within] {
                let file = json!({"version": "1.0", "added_tokens": [], "normalizer": null, "pre_tokenizer": null,
                    "post_processor": processor, "decoder": null, "truncation": null, "padding": null, "model": model});
                let error = parse(&file.to_string()).err().map(|error| error.to_string());
                assert_eq!(error.is_some_and(|error| error.contains("\"[CLS]\"")), refused, "{file}");
            }
        }
    }
}
