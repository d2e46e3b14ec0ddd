//! How a tokenizer frames one text, or two: the control tokens that its post-processor puts before, between and after
//! them, such as `[CLS] A [SEP] B [SEP]`. Encoders were trained on such pairs of a prompt and its response.

use tokenizers::{Encoding, Token, Tokenizer};

use super::tokenizer_error::{TokenizerError, without_panics};
use super::tokenizer_file::parse;

/// The tokens around the two texts of a pair.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct PairFrame {
    pub(crate) before: Vec<u32>,
    pub(crate) between: Vec<u32>,
    pub(crate) after: Vec<u32>,
    /// Whether what follows the first token between the texts is the second segment; if not, all is the first.
    pub(crate) has_segments: bool,
}

/// Why a pair has no frame.
#[derive(Debug, thiserror::Error)]
pub(crate) enum PairError {
    #[error(transparent)]
    Tokenizer(#[from] TokenizerError),
    #[error("its post-processor puts no control tokens around the texts of a pair, which encoders need")]
    NoFrame,
    #[error("its post-processor gives tokens other segments than the two texts of a pair")]
    Segments,
}

impl PairFrame {
    /// Reads the frame from the text of `tokenizer.json`.
    ///
    /// # Errors
    /// The post-processor frames no pairs, or gives them more segments than the engine can tell apart.
    pub(crate) fn read(json: &str) -> Result<Self, PairError> {
        let tokenizer = parse(json).map_err(TokenizerError::from)?;
        let framed = process(&tokenizer).map_err(TokenizerError::from)?;
        let (ids, segments) = (framed.get_ids(), framed.get_type_ids());
        let place = |text: u32| ids.iter().position(|&id| id == text);
        let (Some(first), Some(second)) = (place(FIRST), place(SECOND)) else {
            return Err(PairError::NoFrame);
        };
        if first == 0 || second <= first + 1 || second + 1 >= ids.len() {
            return Err(PairError::NoFrame);
        }
        let has_segments = segments.iter().any(|&segment| segment != 0);
        if has_segments {
            let expected = |place: usize| u32::from(place > first + 1);
            if segments.iter().enumerate().any(|(place, &segment)| segment != expected(place)) {
                return Err(PairError::Segments);
            }
        }
        Ok(Self {
            before: ids[..first].to_vec(),
            between: ids[first + 1..second].to_vec(),
            after: ids[second + 1..].to_vec(),
            has_segments,
        })
    }

    /// The ids that the tokenizers crate itself gives for a pair.
    ///
    /// # Errors
    /// The tokenizer cannot encode it.
    pub(crate) fn reference(json: &str, first: &str, second: &str) -> Result<Vec<u32>, TokenizerError> {
        let tokenizer = parse(json)?;
        let encoding = without_panics(|| tokenizer.encode((first, second), true))?;
        Ok(encoding.get_ids().to_vec())
    }
}

/// Ids that represent the two texts while control tokens are put around them.
const FIRST: u32 = u32::MAX;
const SECOND: u32 = u32::MAX - 1;

fn process(tokenizer: &Tokenizer) -> tokenizers::Result<Encoding> {
    let text =
        |id: u32, segment: u32| Encoding::from_tokens(vec![Token::new(id, "a".to_owned(), (0, 1))], segment);
    without_panics(|| tokenizer.post_process(text(FIRST, 0), Some(text(SECOND, 1)), true))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn frame(post_processor: &serde_json::Value) -> Result<PairFrame, PairError> {
        let token = |id: u32, content: &str| {
            json!({"id": id, "content": content, "special": true,
            "single_word": false, "lstrip": false, "rstrip": false, "normalized": false})
        };
        let tokenizer = json!({"version": "1.0", "normalizer": null, "pre_tokenizer": {"type": "WhitespaceSplit"},
            "post_processor": post_processor, "decoder": null, "truncation": null, "padding": null,
            "added_tokens": [token(0, "[CLS]"), token(1, "[SEP]")],
            "model": {"type": "WordLevel", "vocab": {"[CLS]": 0, "[SEP]": 1, "?": 2}, "unk_token": "?"}});
        PairFrame::read(&tokenizer.to_string())
    }

    #[test]
    fn bert_has_two_segments_and_roberta_one_with_two_separators() {
        let bert = json!({"type": "BertProcessing", "sep": ["[SEP]", 1], "cls": ["[CLS]", 0]});
        let expected = PairFrame { before: vec![0], between: vec![1], after: vec![1], has_segments: true };
        assert_eq!(frame(&bert).unwrap(), expected);
        let roberta = json!({"type": "RobertaProcessing", "sep": ["[SEP]", 1], "cls": ["[CLS]", 0],
            "trim_offsets": true, "add_prefix_space": false});
        let expected = PairFrame { between: vec![1, 1], has_segments: false, ..expected };
        assert_eq!(frame(&roberta).unwrap(), expected);
    }

    #[test]
    fn a_tokenizer_that_frames_nothing_is_refused() {
        assert!(matches!(frame(&serde_json::Value::Null), Err(PairError::NoFrame)));
    }
}
