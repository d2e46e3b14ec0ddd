//! Splits text where SentencePiece's words start, if a tokenizer's BPE merges nothing across these places.
//!
//! Tokenizers like Llama 2's have no pre-tokenizer: a whole text is one word to them, and its merges take longer than in
//! proportion to its length. SentencePiece trains such a vocabulary on words, though, so that no token has a `▁` after
//! another character. Then no merge crosses the start of a word, and words can be encoded one by one, and remembered.

use serde_json::json;
use tokenizers::{ModelWrapper, Tokenizer};

/// What SentencePiece writes for a space, at the start of a word.
const SPACE: char = '▁';

/// Whether a text has the same tokens if its words are encoded one by one.
pub(super) fn are_independent(tokenizer: &Tokenizer) -> bool {
    let ModelWrapper::BPE(model) = tokenizer.get_model() else { return false };
    let plain = model.dropout.is_none()
        && !model.ignore_merges
        && model.continuing_subword_prefix.is_none()
        && model.end_of_word_suffix.is_none();
    let vocabulary = model.get_vocab();
    // Unknown characters are fused with their neighbours, but a known one ends that.
    plain
        && vocabulary.contains_key(SPACE.encode_utf8(&mut [0; 4]))
        && vocabulary.keys().all(|token| words(token).count() <= 1)
}

/// What SentencePiece does to a text before it is cut into words: each space becomes a `▁`, and one may come before the
/// text. The tokenizers crate gives the same text, but keeps the offset of each byte, which takes it most of its time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Spaces {
    /// Nothing comes before a text.
    Replaced,
    /// A `▁` comes before every piece of a text.
    AfterPrefix,
    /// A `▁` comes before the first piece, unless it has one.
    AfterFirstPrefix,
}

impl Spaces {
    /// `None` for a tokenizer that does anything else, or anything more.
    pub(super) fn detect(tokenizer: &Tokenizer) -> Option<Self> {
        let normalizer = serde_json::to_value(tokenizer.get_normalizer()).ok()?;
        let pre_tokenizer = serde_json::to_value(tokenizer.get_pre_tokenizer()).ok()?;
        let replace = json!({"type": "Replace", "pattern": {"String": " "}, "content": "▁"});
        let prepend = json!({"type": "Prepend", "prepend": "▁"});
        let first =
            json!({"type": "Metaspace", "replacement": "▁", "prepend_scheme": "first", "split": false});
        if pre_tokenizer.is_null() && normalizer == replace {
            Some(Self::Replaced)
        } else if pre_tokenizer.is_null()
            && normalizer == json!({"type": "Sequence", "normalizers": [prepend, replace]})
        {
            Some(Self::AfterPrefix)
        } else if normalizer.is_null() && pre_tokenizer == first {
            Some(Self::AfterFirstPrefix)
        } else {
            None
        }
    }

    /// The text that the model gets for a piece, which is not empty.
    pub(super) fn write(self, piece: &str, first: bool) -> String {
        let prefixed = match self {
            Self::Replaced => false,
            Self::AfterPrefix => true,
            Self::AfterFirstPrefix => first && !piece.starts_with([' ', SPACE]),
        };
        let mut text = String::with_capacity(piece.len() * 3 / 2 + SPACE.len_utf8());
        if prefixed {
            text.push(SPACE);
        }
        text.extend(piece.chars().map(|letter| if letter == ' ' { SPACE } else { letter }));
        text
    }
}

/// The words of a text, with the spaces before them.
pub(super) fn words(text: &str) -> impl Iterator<Item = &str> {
    let mut rest = text;
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        let spaces = rest.len() - rest.trim_start_matches(SPACE).len();
        let end = rest[spaces..].find(SPACE).map_or(rest.len(), |at| spaces + at);
        let (word, after) = rest.split_at(end);
        rest = after;
        Some(word)
    })
}

/// The first place at or after `from` where a word starts.
pub(super) fn next_start(text: &str, from: usize) -> Option<usize> {
    let mut from = (from..=text.len()).find(|place| text.is_char_boundary(*place))?;
    loop {
        let start = from + text.get(from..)?.find(SPACE)?;
        if start > 0 && !text[..start].ends_with(SPACE) {
            return Some(start);
        }
        from = start + SPACE.len_utf8();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_keep_the_spaces_before_them_and_make_up_the_text() {
        for (text, expected) in [
            ("", vec![]),
            ("one", vec!["one"]),
            ("▁one▁two", vec!["▁one", "▁two"]),
            ("one▁▁two▁", vec!["one", "▁▁two", "▁"]),
            ("▁▁▁", vec!["▁▁▁"]),
            ("\n▁é▁", vec!["\n", "▁é", "▁"]),
        ] {
            assert_eq!(words(text).collect::<Vec<_>>(), expected);
            assert_eq!(words(text).collect::<String>(), text);
            let starts: Vec<usize> =
                words(text).scan(0, |end, word| Some(std::mem::replace(end, *end + word.len()))).collect();
            for from in 1..=text.len() {
                assert_eq!(
                    next_start(text, from),
                    starts.iter().copied().find(|start| *start >= from),
                    "{text} {from}"
                );
            }
        }
    }
}
