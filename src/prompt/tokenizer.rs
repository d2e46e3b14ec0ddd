//! Text becomes token ids: added tokens are found in it, what lies between is normalized, split
//! and encoded by the tokenizer's own parts.
//!
//! The steps are those of `tokenizers`, taken one by one because the crate can only honour control
//! tokens everywhere or nowhere. The post-processor is left out: the template writes every token
//! that belongs into the prompt.

use std::collections::HashSet;
use std::sync::LazyLock;

use aho_corasick::{AhoCorasick, Input};
use regex::Regex;
use tokenizers::normalizer::Range;
use tokenizers::{
    AddedToken, Model, NormalizedString, Normalizer, OffsetReferential, OffsetType, PreTokenizedString,
    PreTokenizer, Token, Tokenizer,
};

use super::byte_level::Words;
use super::injection_guard::{Mark, guarded, searcher};
use super::vocabulary::Vocabulary;

/// A tokenizer that can tell whose control tokens are whose.
pub(super) struct Tokens {
    tokenizer: Tokenizer,
    /// Its pre-tokenizer, if there is a faster one.
    words: Option<Words>,
    added: Vec<Added>,
    control: HashSet<u32>,
    /// What the tokenizer itself puts before a text.
    prefix: Vec<u32>,
    /// Added tokens found in the text as it came.
    plain: Search,
    /// Those found once it is normalized.
    normalized: Search,
}

/// An added token.
struct Added {
    id: u32,
    token: AddedToken,
    /// Whether only the template may write it.
    control: bool,
}

/// A search for some of the added tokens.
struct Search {
    searcher: AhoCorasick,
    /// Of each pattern, its index in [`Tokens::added`].
    added: Vec<usize>,
}

impl Tokens {
    /// A tokenizer from the text of `tokenizer.json`. Control tokens are those it calls special,
    /// those in `named`, and, as transformers' `sanitize_control_tokens` has it, other added tokens
    /// that `template` spells.
    ///
    /// # Errors
    /// The text is not a tokenizer.
    pub(super) fn new<'a>(
        json: &str,
        template: &str,
        named: impl Iterator<Item = &'a str>,
    ) -> Result<Self, String> {
        let tokenizer: Tokenizer = json.parse().map_err(|error: tokenizers::Error| error.to_string())?;
        let named: HashSet<&str> = named.collect();
        let mut added: Vec<Added> = (tokenizer.get_added_tokens_decoder().into_iter())
            .map(|(id, token)| {
                let content = token.content.as_str();
                let spelled = template.contains(content) && !content.chars().all(char::is_whitespace);
                Added { id, control: token.special || named.contains(content) || spelled, token }
            })
            .collect();
        added.sort_by_key(|added| added.id);
        Ok(Self {
            control: added.iter().filter(|added| added.control).map(|added| added.id).collect(),
            plain: Search::new(&added, &tokenizer, false)?,
            normalized: Search::new(&added, &tokenizer, true)?,
            added,
            prefix: prefix(&tokenizer)?,
            words: Words::new(tokenizer.get_pre_tokenizer()),
            tokenizer,
        })
    }

    /// The id of an added token.
    pub(super) fn added(&self, content: &str) -> Option<u32> {
        self.added.iter().find(|added| added.token.content == content).map(|added| added.id)
    }

    /// Token ids that the tokenizer itself puts before a text.
    pub(super) fn prefix(&self) -> &[u32] {
        &self.prefix
    }

    /// What its tokens stand for.
    pub(super) fn vocabulary(&self) -> Vocabulary {
        Vocabulary::new(&self.tokenizer)
    }

    /// The control tokens.
    pub(super) fn control_tokens(&self) -> Vec<&str> {
        self.added.iter().filter(|added| added.control).map(|added| added.token.content.as_str()).collect()
    }

    /// Token ids of `text`. A control token that `marks` guard is encoded as ordinary text; without
    /// marks, all are honoured.
    ///
    /// # Errors
    /// The tokenizer cannot encode it; the text says why.
    pub(super) fn encode(&self, text: &str, marks: Option<&[Mark]>) -> Result<Vec<u32>, String> {
        self.try_encode(text, marks).map_err(|error| error.to_string())
    }

    fn try_encode(&self, text: &str, marks: Option<&[Mark]>) -> tokenizers::Result<Vec<u32>> {
        let mut pieces = PreTokenizedString::from(text);
        pieces.split(|_, piece| Ok(self.extract(piece, &self.plain, marks)))?;
        pieces.split(|_, mut piece| {
            if let Some(normalizer) = self.tokenizer.get_normalizer() {
                normalizer.normalize(&mut piece)?;
            }
            Ok(self.extract(piece, &self.normalized, marks))
        })?;
        if let (None, Some(pre_tokenizer)) = (&self.words, self.tokenizer.get_pre_tokenizer()) {
            pre_tokenizer.pre_tokenize(&mut pieces)?;
        }
        let mut ids = Vec::with_capacity(text.len() / 4 + 8);
        for (piece, _, tokens) in pieces.get_splits(OffsetReferential::Original, OffsetType::None) {
            match (tokens, &self.words) {
                (Some(tokens), _) => ids.extend(tokens.iter().map(|token| token.id)),
                (None, None) => self.encode_word(piece, marks, &mut ids)?,
                (None, Some(words)) => {
                    words.for_each(piece, |word| self.encode_word(word, marks, &mut ids))?
                }
            }
        }
        Ok(ids)
    }

    /// Encodes ordinary text. The vocabulary itself may spell a control token in it, which is
    /// honoured only without marks.
    fn encode_word(&self, word: &str, marks: Option<&[Mark]>, ids: &mut Vec<u32>) -> tokenizers::Result<()> {
        for token in self.tokenizer.get_model().tokenize(word)? {
            let text = word.get(token.offsets.0..token.offsets.1).unwrap_or_default();
            if marks.is_none() || !self.control.contains(&token.id) || token.value != text {
                ids.push(token.id);
                continue;
            }
            // It does: encode the first character apart.
            let first = text.chars().next().map_or(0, char::len_utf8);
            if first == text.len() {
                return Err(format!("`{text}` is a control token and has no spelling as text").into());
            }
            self.encode_word(&text[..first], marks, ids)?;
            self.encode_word(&text[first..], marks, ids)?;
        }
        Ok(())
    }

    /// Cuts `piece` at the added tokens in it.
    fn extract(
        &self,
        piece: NormalizedString,
        search: &Search,
        marks: Option<&[Mark]>,
    ) -> Vec<(NormalizedString, Option<Vec<Token>>)> {
        let text = piece.get();
        let mut cuts = Vec::new();
        let (mut done, mut from) = (0, 0);
        while let Some(found) = search.searcher.find(Input::new(text).range(from..)) {
            let added = &self.added[search.added[found.pattern().as_usize()]];
            let (mut start, mut end) = (found.start(), found.end());
            if added.control && !self.own(&piece, start, end, added, marks) {
                from = start + text[start..].chars().next().map_or(1, char::len_utf8);
                continue;
            }
            from = end;
            if added.token.single_word && !stands_alone(text, start, end) {
                continue;
            }
            if added.token.lstrip {
                start = text[..start].trim_end().len();
            }
            if added.token.rstrip {
                end = text.len() - text[end..].trim_start().len();
            }
            start = start.max(done);
            cuts.push((done..start, None));
            cuts.push((start..end, Some(added.id)));
            (done, from) = (end, from.max(end));
        }
        if cuts.is_empty() {
            return vec![(piece, None)];
        }
        cuts.push((done..text.len(), None));
        cuts.into_iter()
            .filter(|(range, _)| !range.is_empty())
            .filter_map(|(range, id)| {
                let length = range.len();
                let cut = piece.slice(Range::Normalized(range))?;
                let tokens = id.map(|id| vec![Token::new(id, String::new(), (0, length))]);
                Some((cut, tokens))
            })
            .collect()
    }

    /// Whether a control token that stands in `start..end` of `piece` was written by the template.
    fn own(
        &self,
        piece: &NormalizedString,
        start: usize,
        end: usize,
        added: &Added,
        marks: Option<&[Mark]>,
    ) -> bool {
        let Some(marks) = marks else { return true };
        let Some(range) = piece.convert_offsets(Range::Normalized(start..end)) else { return false };
        // What becomes a control token only by normalization was not meant as one.
        if added.token.normalized && piece.get_original().get(range.clone()) != Some(&added.token.content) {
            return false;
        }
        let shift = piece.offsets_original().0;
        !guarded(marks, shift + range.start, shift + range.end)
    }
}

impl Search {
    /// A search for the added tokens that are matched before (or after) normalization.
    fn new(added: &[Added], tokenizer: &Tokenizer, normalized: bool) -> Result<Self, String> {
        let (mut patterns, mut indices) = (Vec::new(), Vec::new());
        for (index, added) in
            added.iter().enumerate().filter(|(_, added)| added.token.normalized == normalized)
        {
            let mut pattern = NormalizedString::from(added.token.content.as_str());
            if let (true, Some(normalizer)) = (normalized, tokenizer.get_normalizer()) {
                normalizer.normalize(&mut pattern).map_err(|error| error.to_string())?;
            }
            if !pattern.get().is_empty() {
                patterns.push(pattern.get().to_string());
                indices.push(index);
            }
        }
        Ok(Self { searcher: searcher(&patterns)?, added: indices })
    }
}

/// What a tokenizer's post-processor puts before a text.
fn prefix(tokenizer: &Tokenizer) -> Result<Vec<u32>, String> {
    let encode = |special| tokenizer.encode("a", special).map_err(|error| error.to_string());
    let (plain, special) = (encode(false)?, encode(true)?);
    let (plain, special) = (plain.get_ids(), special.get_ids());
    let before = special.windows(plain.len().max(1)).position(|window| window == plain);
    Ok(special[..before.unwrap_or(0)].to_vec())
}

/// Whether no letter, digit or the like touches `start..end`.
fn stands_alone(text: &str, start: usize, end: usize) -> bool {
    static WORD: LazyLock<Option<Regex>> = LazyLock::new(|| Regex::new(r"^\w").ok());
    let word = |c: Option<char>| {
        c.is_some_and(|c| WORD.as_ref().is_some_and(|word| word.is_match(c.encode_utf8(&mut [0; 4]))))
    };
    !word(text[..start].chars().next_back()) && !word(text[end..].chars().next())
}

#[cfg(test)]
impl Tokens {
    /// The ids that the tokenizers crate gives.
    pub(super) fn reference(&self, text: &str) -> Vec<u32> {
        self.tokenizer.encode(text, false).unwrap().get_ids().to_vec()
    }

    /// The text of ids.
    pub(super) fn decode(&self, ids: &[u32]) -> String {
        self.tokenizer.decode(ids, false).unwrap()
    }
}
