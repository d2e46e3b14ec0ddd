//! Finds a tokenizer's added tokens in a text, as the tokenizers crate does.

use std::ops::Range;
use std::sync::LazyLock;

use aho_corasick::{AhoCorasick, Input};
use regex::Regex;
use tokenizers::{AddedToken, NormalizedString};

use super::injection_guard::searcher;
use super::normalization::Normalization;
use super::tokenizer_error::TokenizerError;

/// An added token.
pub(super) struct Added {
    pub(super) id: u32,
    pub(super) token: AddedToken,
    /// Whether only the template may write it.
    pub(super) control: bool,
}

/// A search for some of the added tokens.
pub(super) struct AddedSearch {
    searcher: AhoCorasick,
    /// Index among the added tokens of each pattern.
    added: Vec<usize>,
}

impl AddedSearch {
    /// Searches for the added tokens whose `normalized` flag is `normalized`.
    pub(super) fn new(
        added: &[Added],
        normalization: &Normalization,
        normalized: bool,
    ) -> Result<Self, TokenizerError> {
        let (mut patterns, mut indices) = (Vec::new(), Vec::new());
        for (index, added) in added.iter().enumerate() {
            if added.token.normalized != normalized {
                continue;
            }
            let mut pattern = NormalizedString::from(added.token.content.as_str());
            if normalized {
                normalization.normalize(&mut pattern)?;
            }
            if !pattern.get().is_empty() {
                patterns.push(pattern.get().to_owned());
                indices.push(index);
            }
        }
        Ok(Self { searcher: searcher(&patterns)?, added: indices })
    }

    /// Whether it finds nothing in any text.
    pub(super) fn is_empty(&self) -> bool {
        self.added.is_empty()
    }

    /// The ranges of the added tokens in a text that are `honoured`, and of the pieces between them. No range
    /// is empty, unless the text is.
    pub(super) fn cut(
        &self,
        text: &str,
        added: &[Added],
        honoured: impl Fn(Range<usize>, &Added) -> bool,
    ) -> Vec<(Range<usize>, Option<u32>)> {
        let mut cuts = Vec::new();
        let (mut done, mut from) = (0, 0);
        while let Some(found) = self.searcher.find(Input::new(text).range(from..)) {
            let added = &added[self.added[found.pattern().as_usize()]];
            let (mut start, mut end) = (found.start(), found.end());
            if !honoured(start..end, added) {
                from = start + text[start..].chars().next().map_or(1, char::len_utf8);
                continue;
            }
            from = end;
            if added.token.single_word && !is_whole_word(text, start, end) {
                continue;
            }
            if added.token.lstrip {
                start = text[..start].trim_end().len().max(done);
            }
            if added.token.rstrip {
                end = text.len() - text[end..].trim_start().len();
            }
            // White space that one token strips may itself be a token, which is found all the same.
            if done < start {
                cuts.push((done..start, None));
            }
            if start < end {
                cuts.push((start..end, Some(added.id)));
            }
            done = end;
        }
        if done < text.len() || cuts.is_empty() {
            cuts.push((done..text.len(), None));
        }
        cuts
    }
}

/// Whether no word character touches `start..end`.
fn is_whole_word(text: &str, start: usize, end: usize) -> bool {
    !text[..start].chars().next_back().is_some_and(is_word_character)
        && !text[end..].chars().next().is_some_and(is_word_character)
}

/// Whether the regex class `\w`, which the tokenizers crate uses here too, contains a character.
fn is_word_character(c: char) -> bool {
    #[expect(clippy::expect_used, reason = "the pattern is a constant")]
    static WORD: LazyLock<Regex> = LazyLock::new(|| Regex::new(r"^\w").expect("`^\\w` is a valid pattern"));
    WORD.is_match(c.encode_utf8(&mut [0; 4]))
}
