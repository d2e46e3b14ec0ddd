//! The post-processor of `tokenizer.json` that puts special tokens around texts.

use serde_json::{Map, Value, json};

/// A special token in a template.
pub(super) fn special(token: &str, segment: u32) -> Value {
    json!({"SpecialToken": {"id": token, "type_id": segment}})
}

/// A text in a template: `A`, or in a pair also `B`.
pub(super) fn text(name: &str, segment: u32) -> Value {
    json!({"Sequence": {"id": name, "type_id": segment}})
}

/// The post-processor with these templates for a text and for a pair of them, and the ids of the tokens in them.
pub(super) fn post_processor<'t>(
    single: &[Value],
    pair: &[Value],
    tokens: impl IntoIterator<Item = &'t (String, u32)>,
) -> Value {
    let mut ids = Map::new();
    for (token, id) in tokens {
        ids.insert(token.clone(), json!({"id": token, "ids": [id], "tokens": [token]}));
    }
    json!({"type": "TemplateProcessing", "single": single, "pair": pair, "special_tokens": ids})
}
