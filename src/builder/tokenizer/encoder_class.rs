//! The tokenizer classes of encoders, which normalize and split texts in their own way (see [`super::class`]). RoBERTa's
//! and XLM-RoBERTa's assemble what their published files have.

use serde_json::{Value, json};

use super::class::Class;
use crate::builder::BuildError;
use crate::builder::json::Object;

/// Replaces the parts of `tokenizer.json` that the class assembles itself, by the settings of `tokenizer_config.json`.
/// Vocabulary, added tokens and post-processor are those of the file.
///
/// # Errors
/// A setting is malformed.
pub(super) fn assemble(class: Class, mut file: Value, config: Option<&Object>) -> Result<Value, BuildError> {
    let flag = |name: &str, default: bool| -> Result<bool, BuildError> {
        Ok(config.map(|config| config.optional(name)).transpose()?.flatten().unwrap_or(default))
    };
    match class {
        Class::DebertaV2 => {
            let mut steps = vec![];
            if flag("do_lower_case", false)? {
                steps.push(json!({"type": "Lowercase"}));
            }
            steps.push(json!({"type": "Replace", "pattern": {"Regex": r"\s{2,}|[\n\r\t]"}, "content": " "}));
            steps.push(json!({"type": "NFC"}));
            steps.push(json!({"type": "Strip", "strip_left": false, "strip_right": true}));
            file["normalizer"] = json!({"type": "Sequence", "normalizers": steps});
            let mut splits = vec![];
            if flag("split_by_punct", false)? {
                splits.push(json!({"type": "Punctuation", "behavior": "Isolated"}));
            }
            let scheme = if flag("add_prefix_space", true)? { "always" } else { "first" };
            splits.push(
                json!({"type": "Metaspace", "replacement": "▁", "prepend_scheme": scheme, "split": true}),
            );
            file["pre_tokenizer"] = json!({"type": "Sequence", "pretokenizers": splits});
        }
        Class::Bert => {
            let accents: Option<bool> =
                config.map(|config| config.optional("strip_accents")).transpose()?.flatten();
            file["normalizer"] = json!({
                "type": "BertNormalizer",
                "clean_text": true,
                "handle_chinese_chars": flag("tokenize_chinese_chars", true)?,
                "strip_accents": accents,
                "lowercase": flag("do_lower_case", true)?,
            });
            file["pre_tokenizer"] = json!({"type": "BertPreTokenizer"});
        }
        Class::File | Class::Llama | Class::Qwen2 | Class::Gemma => {}
    }
    Ok(file)
}
