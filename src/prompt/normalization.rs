//! A tokenizer's normalizer, step by step, within bounds: a text cannot grow without limit, and a step that panics
//! fails the text.

use base64::Engine;
use tokenizers::normalizers::NormalizerWrapper;
use tokenizers::{NormalizedString, Normalizer};

use super::charsmap::Charsmap;
use super::tokenizer_error::{TokenizerError, without_panics};

/// Longest text that one replacement may insert, in bytes.
const LONGEST_CONTENT: usize = 64;
/// How many times as long as its original a text may become; compatibility decompositions reach 18.
pub(super) const LARGEST_GROWTH: usize = 1024;
/// Bytes that any text may grow to.
const SMALL: usize = 256;

/// How many times as long its replacements can make a text, at most.
pub(super) fn growth(normalizer: &serde_json::Value) -> usize {
    if let Some(steps) = normalizer["normalizers"].as_array() {
        return steps.iter().map(growth).fold(1, usize::saturating_mul);
    }
    let content = normalizer["content"].as_str().unwrap_or_default().len();
    let pattern = normalizer["pattern"]["String"].as_str().unwrap_or_default().len();
    content.div_ceil(pattern.max(1)).max(1)
}

/// The steps of a normalizer.
#[derive(Debug)]
pub(super) struct Normalization {
    steps: Vec<Step>,
}

#[derive(Debug)]
enum Step {
    Charsmap(Charsmap),
    Other(NormalizerWrapper),
}

impl Normalization {
    /// With `longest_match`, maps of characters are applied as SentencePiece does, and else as the tokenizers crate
    /// does.
    ///
    /// # Errors
    /// A map is malformed, or a replacement is too long.
    pub(super) fn new(
        normalizer: Option<&NormalizerWrapper>,
        longest_match: bool,
    ) -> Result<Self, TokenizerError> {
        let mut steps = Vec::new();
        if let Some(normalizer) = normalizer {
            flatten(normalizer, longest_match, &mut steps)?;
        }
        Ok(Self { steps })
    }

    /// Normalizes a text.
    ///
    /// # Errors
    /// It becomes too long, or a step fails.
    pub(super) fn normalize(&self, text: &mut NormalizedString) -> Result<(), TokenizerError> {
        let limit = text.get().len().saturating_mul(LARGEST_GROWTH).max(SMALL);
        for step in &self.steps {
            match step {
                Step::Charsmap(map) => map.normalize(text),
                Step::Other(normalizer) => without_panics(|| normalizer.normalize(text))?,
            }
            if text.get().len() > limit {
                return Err(TokenizerError::Exploded { limit });
            }
        }
        Ok(())
    }
}

fn flatten(
    normalizer: &NormalizerWrapper,
    longest_match: bool,
    steps: &mut Vec<Step>,
) -> Result<(), TokenizerError> {
    match normalizer {
        NormalizerWrapper::Sequence(sequence) => {
            for normalizer in sequence.as_ref() {
                flatten(normalizer, longest_match, steps)?;
            }
        }
        NormalizerWrapper::Precompiled(_) if longest_match => {
            let fields = serde_json::to_value(normalizer).map_err(tokenizers::Error::from)?;
            let text = fields["precompiled_charsmap"].as_str().unwrap_or_default();
            let bytes = base64::engine::general_purpose::STANDARD.decode(text).ok();
            let map = bytes.and_then(|bytes| Charsmap::parse(&bytes)).ok_or(TokenizerError::Charsmap)?;
            steps.push(Step::Charsmap(map));
        }
        NormalizerWrapper::Replace(_) | NormalizerWrapper::Prepend(_) => {
            let fields = serde_json::to_value(normalizer).map_err(tokenizers::Error::from)?;
            let inserted = fields["content"].as_str().or(fields["prepend"].as_str()).unwrap_or_default();
            if inserted.len() > LONGEST_CONTENT {
                return Err(TokenizerError::LongReplacement(inserted.len()));
            }
            steps.push(Step::Other(normalizer.clone()));
        }
        other => steps.push(Step::Other(other.clone())),
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn normalization(json: Value) -> Result<Normalization, TokenizerError> {
        Normalization::new(Some(&serde_json::from_value(json).unwrap()), true)
    }

    fn sequence(steps: &[Value]) -> Value {
        json!({"type": "Sequence", "normalizers": steps})
    }

    #[test]
    fn a_normalizer_that_makes_texts_grow_without_limit_is_stopped() {
        let replace =
            |content: &str| json!({"type": "Replace", "pattern": {"String": "a"}, "content": content});
        let mut text = NormalizedString::from("a".repeat(1000));
        let steps = vec![replace("aaaaaaaaaaaaaaaa"); 30];
        let error = normalization(sequence(&steps)).unwrap().normalize(&mut text).unwrap_err();
        assert!(matches!(error, TokenizerError::Exploded { limit: 1_024_000 }), "{error}");
        let error = normalization(replace(&"a".repeat(65))).unwrap_err();
        assert!(matches!(error, TokenizerError::LongReplacement(65)), "{error}");
        assert_eq!(growth(&sequence(&[replace("aaa"), replace("aa"), replace("")])), 6);
    }

    #[test]
    fn a_map_of_characters_that_is_malformed_is_an_error() {
        for blob in [&[][..], &[1, 0, 0, 0], &[0, 0, 0, 0], &[3, 0, 0, 0, 1, 2, 3], &[255; 4]] {
            assert!(Charsmap::parse(blob).is_none(), "{blob:?}");
        }
        // Any trie of any numbers gives some text.
        let units: Vec<u8> = (0..4096_u32).flat_map(|n| n.wrapping_mul(0x9e37_79b9).to_le_bytes()).collect();
        let blob = [&(units.len() as u32).to_le_bytes()[..], &units, b"x\0\xff\0"].concat();
        let map = Charsmap::parse(&blob).unwrap();
        let mut text = NormalizedString::from("a\u{308} ﬁ 🗼 é\r\n");
        map.normalize(&mut text);
    }
}
