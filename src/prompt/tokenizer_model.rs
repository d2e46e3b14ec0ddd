//! Checks what the tokenizers crate reads of a model without checking it: tokens with one id, and the merges of BPE.

use std::collections::HashMap;
use std::collections::hash_map::Entry;

use serde::Deserialize;
use serde::de::{Deserializer, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::Value;

/// The vocabulary of a model, and its merges if it has some.
#[derive(Default, Deserialize)]
pub(super) struct TokenizerModel {
    #[serde(default)]
    vocab: Vocabulary,
    #[serde(default)]
    merges: Option<Vec<Merge>>,
    #[serde(default)]
    continuing_subword_prefix: Option<String>,
}

/// Two tokens that become one; `None` for the line of a version.
struct Merge(Option<(String, String)>);

impl TokenizerModel {
    /// Two tokens with the same id. The crate keeps either of them, at random, when it writes a tokenizer.
    pub(super) fn same_id(&self) -> Option<&(String, String)> {
        self.vocab.same_id.as_ref()
    }

    /// A merge that the crate must not see: its token is longer than all of the vocabulary, or what is cut off its second
    /// part is not whole characters of it.
    pub(super) fn unusable_merge(&self) -> Option<(&str, &str)> {
        let prefix = self.continuing_subword_prefix.as_ref().map_or(0, String::len);
        let mut merges = self.merges.iter().flatten().filter_map(|merge| merge.0.as_ref());
        let fits = |first: &str, second: &str| {
            second.get(prefix..).is_some_and(|rest| first.len() + rest.len() <= self.vocab.longest)
        };
        let unusable = merges.find(|(first, second)| !fits(first, second));
        unusable.map(|(first, second)| (first.as_str(), second.as_str()))
    }
}

impl<'de> Deserialize<'de> for Merge {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Tokens;
        impl<'de> Visitor<'de> for Tokens {
            type Value = Merge;

            fn expecting(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                formatter.write_str("two tokens, in a list or separated by a space")
            }

            fn visit_str<E: Error>(self, text: &str) -> Result<Merge, E> {
                if text.starts_with("#version") {
                    return Ok(Merge(None));
                }
                let (first, second) =
                    text.split_once(' ').ok_or_else(|| E::custom("a merge is not two tokens"))?;
                Ok(Merge(Some((first.to_owned(), second.to_owned()))))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Merge, A::Error> {
                let mut next =
                    || items.next_element()?.ok_or_else(|| A::Error::custom("a merge is not two tokens"));
                let (first, second) = (next()?, next()?);
                while items.next_element::<IgnoredAny>()?.is_some() {}
                Ok(Merge(Some((first, second))))
            }
        }
        deserializer.deserialize_any(Tokens)
    }
}

/// What is checked of a vocabulary that is an object; nothing of others.
#[derive(Default)]
struct Vocabulary {
    /// Bytes of the longest token.
    longest: usize,
    same_id: Option<(String, String)>,
}

impl<'de> Deserialize<'de> for Vocabulary {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Names;
        impl<'de> Visitor<'de> for Names {
            type Value = Vocabulary;

            fn expecting(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                formatter.write_str("a vocabulary")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut names: A) -> Result<Vocabulary, A::Error> {
                let (mut vocabulary, mut seen) = (Vocabulary::default(), HashMap::new());
                while let Some((name, id)) = names.next_entry::<String, Value>()? {
                    vocabulary.longest = vocabulary.longest.max(name.len());
                    let Some(id) = id.as_u64() else { continue };
                    match seen.entry(id) {
                        Entry::Vacant(free) => {
                            free.insert(name);
                        }
                        Entry::Occupied(taken) if *taken.get() != name => {
                            vocabulary.same_id.get_or_insert_with(|| (taken.get().clone(), name));
                        }
                        Entry::Occupied(_) => {}
                    }
                }
                Ok(vocabulary)
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut pieces: A) -> Result<Vocabulary, A::Error> {
                while pieces.next_element::<IgnoredAny>()?.is_some() {}
                Ok(Vocabulary::default())
            }
        }
        deserializer.deserialize_any(Names)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn unusable(merges: &Value, prefix: Option<&str>) -> Option<String> {
        let model = json!({"type": "BPE", "vocab": {"a": 0, "##b": 1, "ab": 2, "\u{e9}": 3, "abc": 4},
            "merges": merges, "continuing_subword_prefix": prefix});
        let model: TokenizerModel = serde_json::from_value(model).unwrap();
        model.unusable_merge().map(|(first, second)| format!("{first}+{second}"))
    }

    #[test]
    fn merges_that_the_crate_would_read_beyond_a_token_are_found() {
        for merges in [json!([["a", "b"], ["ab", "c"]]), json!(["#version: 0.2", "a b", "ab c"]), json!(null)]
        {
            assert_eq!(unusable(&merges, None), None, "{merges}");
        }
        assert_eq!(unusable(&json!([["a", "b"], ["ab", "cd"]]), None).unwrap(), "ab+cd");
        assert_eq!(unusable(&json!(["abc abc"]), None).unwrap(), "abc+abc");
        assert_eq!(unusable(&json!([["a", "##b"]]), Some("##")), None);
        assert_eq!(unusable(&json!([["a", "b"]]), Some("##")).unwrap(), "a+b");
        // Half of a character would be left.
        assert_eq!(unusable(&json!([["a", "\u{e9}"]]), Some("#")).unwrap(), "a+\u{e9}");
    }

    #[test]
    fn two_tokens_with_one_id_are_found_and_one_token_twice_is_not() {
        let same_id = |vocab: &str| {
            let model: TokenizerModel = serde_json::from_str(&format!(r#"{{"vocab": {vocab}}}"#)).unwrap();
            model.same_id().cloned()
        };
        assert_eq!(same_id(r#"{"a": 0, "b": 1, "c": 0}"#), Some(("a".into(), "c".into())));
        assert_eq!(same_id(r#"{"a": 0, "b": 1, "a": 0}"#), None);
        assert_eq!(same_id(r#"[["a", 0], ["b", 0]]"#), None);
    }

    #[test]
    fn a_model_without_merges_has_none_to_check() {
        for vocab in [json!([["a", -1.5], ["b", -2.0]]), json!({"a": 0})] {
            let model: TokenizerModel =
                serde_json::from_value(json!({"type": "Unigram", "vocab": vocab})).unwrap();
            assert_eq!(model.unusable_merge(), None);
        }
    }
}
