//! The tokenizer classes of encoders, which normalize, split and frame texts in their own way (see [`super::class`]).

use serde_json::{Value, json};

use super::class::TokenizerClass;
use super::framing::{self, special, text};
use crate::builder::BuildError;
use crate::builder::json::Object;

/// Replaces the parts of `tokenizer.json` that the class assembles itself, by the settings of `tokenizer_config.json`.
/// Vocabulary and added tokens are those of the file.
///
/// # Errors
/// A setting is malformed.
pub(super) fn assemble(
    class: TokenizerClass,
    mut file: Value,
    config: Option<&Object>,
) -> Result<Value, BuildError> {
    let flag = |name: &str, default: bool| -> Result<bool, BuildError> {
        Ok(config.map(|config| config.optional(name)).transpose()?.flatten().unwrap_or(default))
    };
    match class {
        TokenizerClass::DebertaV2 => {
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
        TokenizerClass::Bert | TokenizerClass::DistilBert => {
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
        TokenizerClass::XlmRoberta if file["model"]["type"] == "Unigram" => {
            file["normalizer"] = precompiled(&file["normalizer"]);
            let scheme = if flag("add_prefix_space", true)? { "always" } else { "never" };
            let metaspace =
                json!({"type": "Metaspace", "replacement": "▁", "prepend_scheme": scheme, "split": true});
            file["pre_tokenizer"] =
                json!({"type": "Sequence", "pretokenizers": [{"type": "WhitespaceSplit"}, metaspace]});
            file["decoder"] = metaspace;
            file["model"]["unk_id"] = json!(3);
            file["model"]["byte_fallback"] = json!(false);
        }
        _ => {}
    }
    Ok(file)
}

/// SentencePiece's map of characters in a normalizer, or null.
fn precompiled(normalizer: &Value) -> Value {
    let parts = normalizer["normalizers"].as_array().map_or(std::slice::from_ref(normalizer), Vec::as_slice);
    parts.iter().find(|part| part["type"] == "Precompiled").cloned().unwrap_or_default()
}

/// The post-processor that the class sets itself; `None` if it keeps the file's. `token` gives the text and the id of a
/// named token.
pub(super) fn post_processor(
    class: TokenizerClass,
    token: impl Fn(&str) -> Option<(String, u32)>,
) -> Option<Value> {
    let (start, end) = match class {
        TokenizerClass::Bert
        | TokenizerClass::DistilBert
        | TokenizerClass::DebertaV2
        | TokenizerClass::Roberta => ("cls_token", "sep_token"),
        TokenizerClass::XlmRoberta => ("bos_token", "eos_token"),
        _ => return None,
    };
    let (start, end) = (token(start)?, token(end)?);
    if class == TokenizerClass::Roberta {
        return Some(json!({"type": "RobertaProcessing", "sep": end, "cls": start, "trim_offsets": true,
            "add_prefix_space": false}));
    }
    let single = vec![special(&start.0, 0), text("A", 0), special(&end.0, 0)];
    let mut pair = single.clone();
    if class == TokenizerClass::XlmRoberta {
        pair.extend([special(&end.0, 0), text("B", 0), special(&end.0, 0)]);
    } else {
        pair.extend([text("B", 1), special(&end.0, 1)]);
    }
    Some(framing::post_processor(&single, &pair, &[start, end]))
}
