//! A faster byte-level pre-tokenizer, for Llama 3, Qwen2 and most of their relatives: one pattern
//! splits text into words, and each byte of a word is written as a letter.
//!
//! The tokenizers crate gives the same words, but keeps their offsets into the original text, which
//! takes it most of its time and which nothing here needs.

use tokenizers::PreTokenizerWrapper;
use tokenizers::pre_tokenizers::split::{Split, SplitPattern};
use tokenizers::tokenizer::SplitDelimiterBehavior;

use super::segments::{next_space_between_letters, segments};

/// Patterns by which no word has a letter and then a space, and which do not look beyond a space after a letter: those of
/// Llama 3 and Qwen2.
const CUT_AT_SPACES: [&str; 2] = [
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+",
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+",
];

/// Splits text into the words of a byte-level tokenizer.
pub(super) struct ByteLevelSplitter {
    split: Split,
    /// The letter that each byte is written as.
    letters: [char; 256],
    /// Whether a text has the same words if it is cut between a letter and a space.
    cuts_at_spaces: bool,
}

impl ByteLevelSplitter {
    /// Returns `None` for a pre-tokenizer that does anything else, or anything more.
    pub(super) fn from_pre_tokenizer(pre_tokenizer: Option<&PreTokenizerWrapper>) -> Option<Self> {
        let Some(PreTokenizerWrapper::Sequence(sequence)) = pre_tokenizer else { return None };
        match sequence.as_ref() {
            [PreTokenizerWrapper::Split(split), PreTokenizerWrapper::ByteLevel(bytes)]
                if split.behavior == SplitDelimiterBehavior::Isolated
                    && !split.invert
                    && !bytes.add_prefix_space
                    && !bytes.use_regex =>
            {
                let known = |pattern: &&str| split.pattern == SplitPattern::Regex((*pattern).to_owned());
                let cuts_at_spaces = CUT_AT_SPACES.iter().any(known);
                Some(Self { split: split.clone(), letters: letters(), cuts_at_spaces })
            }
            _ => None,
        }
    }

    /// The parts of a text that have the words of the whole together.
    pub(super) fn segments<'a>(&self, text: &'a str) -> impl Iterator<Item = &'a str> + use<'a> {
        let cuts = self.cuts_at_spaces;
        segments(text, move |text, from| if cuts { next_space_between_letters(text, from) } else { None })
    }

    /// Calls `each` with every word of `text`, written in letters.
    pub(super) fn for_each<E>(
        &self,
        text: &str,
        mut each: impl FnMut(&str) -> Result<(), E>,
    ) -> Result<(), E> {
        let mut word = String::new();
        let mut done = 0;
        let ends = self.split.regex.find_iter(text).flat_map(|(start, end)| [start, end]);
        for end in ends.chain([text.len()]) {
            if end > done {
                word.clear();
                word.extend(text.as_bytes()[done..end].iter().map(|byte| self.letters[usize::from(*byte)]));
                each(&word)?;
                done = end;
            }
        }
        Ok(())
    }
}

/// GPT-2's alphabet of bytes: printable characters of Latin-1 represent themselves, and the other bytes
/// are the characters from U+0100 on, in order.
pub(super) fn letters() -> [char; 256] {
    let mut next = '\u{100}'..;
    std::array::from_fn(|byte| match char::from(byte as u8) {
        c @ ('!'..='~' | '¡'..='¬' | '®'..='ÿ') => c,
        _ => next.next().unwrap_or_default(),
    })
}
