//! Encodes text: finds the added tokens in it, and has the tokenizer's own parts normalize, split and
//! encode the text between them.
//!
//! The steps are those of the tokenizers crate, taken one by one because the crate can honour control
//! tokens everywhere or nowhere, but not in some places only. The post-processor is left out: the
//! chat template writes every token that belongs in the prompt.

use std::collections::HashSet;
use std::ops::Range;

use tokenizers::normalizer::Range::Normalized;
use tokenizers::{
    Encoding, Model, NormalizedString, OffsetReferential, OffsetType, PreTokenizedString, PreTokenizer,
    Token, Tokenizer,
};

use super::added_tokens::{Added, AddedSearch};
use super::byte_level::ByteLevelSplitter;
use super::cancel::is_cancelled;
use super::control_tokens::{ControlPolicy, classify};
use super::injection_guard::{Mark, is_guarded, marks_within};
use super::normalization::Normalization;
use super::piece_cache::{self, Piece, PieceCache};
use super::segments::{self, segments};
use super::size_bound::most_bytes_of_a_token;
use super::tokenizer_error::{TokenizerError, without_panics};
use super::tokenizer_file;
use super::vocabulary::Vocabulary;
use super::word_starts::{self, Spaces};
use crate::manifest::PromptSpec;

/// A tokenizer that can tell the template's control tokens from those that a turn spells.
pub(super) struct PromptTokenizer {
    tokenizer: Tokenizer,
    /// Replaces the tokenizer's own pre-tokenizer where it can.
    splitter: Option<ByteLevelSplitter>,
    /// Whether the model encodes words one by one, even if the pre-tokenizer does not split text at them.
    independent_words: bool,
    /// Takes the place of normalizer and pre-tokenizer where it can; only with independent words.
    spaces: Option<Spaces>,
    normalization: Normalization,
    added: Vec<Added>,
    /// Ids of the control tokens.
    control: HashSet<u32>,
    /// Token ids that the tokenizer itself puts before a text.
    prefix: Vec<u32>,
    /// Finds the added tokens that are matched before normalization.
    unnormalized: AddedSearch,
    /// Finds the added tokens that are matched after normalization.
    normalized: AddedSearch,
    /// Ids of pieces that were encoded lately.
    cache: PieceCache,
    /// Ids of segments of plain text that were encoded lately.
    segments: PieceCache,
    /// The most bytes of text that a token can have, if that is known.
    token_bytes: Option<usize>,
}

impl PromptTokenizer {
    /// Parses the text of `tokenizer.json`. Control tokens are those that structure conversations, as `spec` says,
    /// or else `control_tokens` finds; and the token that ends a step.
    ///
    /// # Errors
    /// The text is not a valid tokenizer.
    pub(super) fn parse(json: &str, template: &str, spec: &PromptSpec) -> Result<Self, TokenizerError> {
        let tokenizer = tokenizer_file::parse(json)?;
        let decoder = tokenizer.get_added_tokens_decoder();
        let tokens = match &spec.control_tokens {
            Some(tokens) => tokens.clone(),
            None => {
                let named = spec.special_tokens.values().map(String::as_str).collect();
                classify(decoder.values(), template, &named, ControlPolicy::default())
            }
        };
        let mut added = Vec::new();
        for (id, token) in decoder {
            let is_step = spec.step_token.as_ref() == Some(&token.content);
            let control = is_step || tokens.is_structure(&token.content, token.special);
            added.push(Added { id, token, control });
        }
        added.sort_by_key(|added| added.id);
        let normalization = Normalization::new(tokenizer.get_normalizer(), spec.longest_match)?;
        let normalized = AddedSearch::new(&added, &normalization, true)?;
        let independent_words = word_starts::are_independent(&tokenizer);
        let spaces = Spaces::detect(&tokenizer).filter(|_| independent_words && normalized.is_empty());
        Ok(Self {
            control: added.iter().filter(|added| added.control).map(|added| added.id).collect(),
            unnormalized: AddedSearch::new(&added, &normalization, false)?,
            normalized,
            normalization,
            added,
            prefix: prefix(&tokenizer)?,
            cache: PieceCache::default(),
            segments: PieceCache::default(),
            token_bytes: most_bytes_of_a_token(&tokenizer),
            independent_words,
            spaces,
            splitter: ByteLevelSplitter::from_pre_tokenizer(tokenizer.get_pre_tokenizer()),
            tokenizer,
        })
    }

    /// The fewest tokens that a text of `bytes` bytes can have.
    pub(super) fn fewest_tokens(&self, bytes: usize) -> usize {
        self.token_bytes.map_or(0, |most| bytes / most.max(1))
    }

    /// Id of the added token `content`.
    pub(super) fn added_id(&self, content: &str) -> Option<u32> {
        self.added.iter().find(|added| added.token.content == content).map(|added| added.id)
    }

    /// The largest token id.
    pub(super) fn largest_id(&self) -> u32 {
        self.tokenizer.get_vocab(true).into_values().max().unwrap_or(0)
    }

    /// Token ids that the tokenizer itself puts before a text.
    pub(super) fn prefix(&self) -> &[u32] {
        &self.prefix
    }

    pub(super) fn is_control(&self, id: u32) -> bool {
        self.control.contains(&id)
    }

    pub(super) fn vocabulary(&self) -> Vocabulary {
        Vocabulary::new(&self.tokenizer)
    }

    pub(super) fn control_tokens(&self) -> Vec<&str> {
        self.added.iter().filter(|added| added.control).map(|added| added.token.content.as_str()).collect()
    }

    /// Token ids of `text`. A control token that `marks` guard is encoded as ordinary text; with `None`,
    /// all control tokens are honoured.
    ///
    /// # Errors
    /// The tokenizer cannot encode the text.
    pub(super) fn encode(&self, text: &str, marks: Option<&[Mark]>) -> Result<Vec<u32>, TokenizerError> {
        without_panics(|| self.encode_whole(text, marks))
    }

    fn encode_whole(&self, text: &str, marks: Option<&[Mark]>) -> Result<Vec<u32>, TokenizerError> {
        let mut ids = Vec::with_capacity(text.len() / 4 + 8);
        let honoured = |place: Range<usize>, added: &Added| {
            !added.control || marks.is_none_or(|marks| !is_guarded(marks, place.start, place.end))
        };
        for (place, id) in self.unnormalized.cut(text, &self.added, honoured) {
            match id {
                Some(id) => ids.push(id),
                None => self.encode_piece(text, place, marks, &mut ids)?,
            }
        }
        Ok(ids)
    }

    /// Encodes a piece of text between added tokens. A long one that was encoded lately is not encoded again.
    ///
    /// The ids of a piece depend on its own text and marks, and on whether it is the first, and on nothing else.
    fn encode_piece(
        &self,
        text: &str,
        place: Range<usize>,
        marks: Option<&[Mark]>,
        ids: &mut Vec<u32>,
    ) -> Result<(), TokenizerError> {
        let first = place.start == 0;
        let marks =
            marks.map(|marks| marks_within(marks, place.clone(), if first { 0 } else { BEFORE.len() }));
        let text = &text[place];
        if text.len() < piece_cache::SHORTEST {
            return self.encode_plain(text, first, marks.as_deref(), ids);
        }
        let key = Piece { text: text.into(), first, marks };
        if let Some(known) = self.cache.get(&key) {
            ids.extend_from_slice(&known);
            return Ok(());
        }
        let before = ids.len();
        self.encode_plain(text, first, key.marks.as_deref(), ids)?;
        self.cache.insert(key, &ids[before..]);
        Ok(())
    }

    fn encode_plain(
        &self,
        piece: &str,
        first: bool,
        marks: Option<&[Mark]>,
        ids: &mut Vec<u32>,
    ) -> Result<(), TokenizerError> {
        if let Some(spaces) = self.spaces
            && !piece.is_empty()
        {
            return self.encode_words(&spaces.write(piece, first), marks, ids);
        }
        let mut pieces = PreTokenizedString::from(normalized(piece, first));
        pieces.split(|_, mut piece| {
            self.normalization.normalize(&mut piece)?;
            Ok(self.extract(piece, &self.normalized, marks))
        })?;
        if let (None, Some(pre_tokenizer)) = (&self.splitter, self.tokenizer.get_pre_tokenizer()) {
            pre_tokenizer.pre_tokenize(&mut pieces)?;
        }
        for (piece, _, tokens) in pieces.get_splits(OffsetReferential::Original, OffsetType::None) {
            match (tokens, &self.splitter) {
                (Some(tokens), _) => ids.extend(tokens.iter().map(|token| token.id)),
                (None, None) if self.independent_words => self.encode_words(piece, marks, ids)?,
                (None, None) => self.encode_word(piece, marks, ids)?,
                (None, Some(splitter)) => {
                    self.encode_segments(splitter.segments(piece), marks, ids, |segment, ids| {
                        splitter.for_each(segment, |word| self.encode_word(word, marks, ids))
                    })?;
                }
            }
        }
        Ok(())
    }

    fn encode_words(
        &self,
        text: &str,
        marks: Option<&[Mark]>,
        ids: &mut Vec<u32>,
    ) -> Result<(), TokenizerError> {
        self.encode_segments(segments(text, word_starts::next_start), marks, ids, |segment, ids| {
            word_starts::words(segment).try_for_each(|word| self.encode_word(word, marks, ids))
        })
    }

    /// Encodes the segments of plain text with `encode`, but not those that were encoded lately.
    fn encode_segments<'a>(
        &self,
        segments: impl Iterator<Item = &'a str>,
        marks: Option<&[Mark]>,
        ids: &mut Vec<u32>,
        encode: impl Fn(&str, &mut Vec<u32>) -> Result<(), TokenizerError>,
    ) -> Result<(), TokenizerError> {
        for segment in segments {
            if segment.len() < segments::LENGTH {
                encode(segment, ids)?;
                continue;
            }
            // Only whether there are marks at all matters to plain text.
            let key = Piece { text: segment.into(), first: false, marks: marks.map(|_| Box::default()) };
            if let Some(known) = self.segments.get(&key) {
                ids.extend_from_slice(&known);
                continue;
            }
            let before = ids.len();
            encode(segment, ids)?;
            self.segments.insert(key, &ids[before..]);
        }
        Ok(())
    }

    /// Encodes ordinary text. The vocabulary itself may spell a control token in it, which is honoured
    /// only where `marks` is `None`.
    fn encode_word(
        &self,
        word: &str,
        marks: Option<&[Mark]>,
        ids: &mut Vec<u32>,
    ) -> Result<(), TokenizerError> {
        if is_cancelled() {
            return Err(TokenizerError::Cancelled);
        }
        for token in self.tokenizer.get_model().tokenize(word)? {
            let text = word.get(token.offsets.0..token.offsets.1).unwrap_or_default();
            // An unknown word may have the id of a control token, but does not spell it.
            let spells = |id| token.value == text && self.tokenizer.id_to_token(id).as_deref() == Some(text);
            if marks.is_none() || !self.control.contains(&token.id) || !spells(token.id) {
                ids.push(token.id);
                continue;
            }
            // The model made a control token of it: encode its first character separately.
            let first = text.chars().next().map_or(0, char::len_utf8);
            if first == text.len() {
                return Err(TokenizerError::Unspellable(text.to_owned()));
            }
            self.encode_word(&text[..first], marks, ids)?;
            self.encode_word(&text[first..], marks, ids)?;
        }
        Ok(())
    }

    /// Splits `piece` at the added tokens in it.
    fn extract(
        &self,
        piece: NormalizedString,
        search: &AddedSearch,
        marks: Option<&[Mark]>,
    ) -> Vec<(NormalizedString, Option<Vec<Token>>)> {
        let honoured = |place: Range<usize>, added: &Added| {
            !added.control || self.is_from_template(&piece, place.start, place.end, added, marks)
        };
        let cuts = search.cut(piece.get(), &self.added, honoured);
        if let [(_, None)] = cuts[..] {
            return vec![(piece, None)];
        }
        let mut pieces = Vec::with_capacity(cuts.len());
        for (place, id) in cuts {
            let length = place.len();
            if let Some(cut) = piece.slice(Normalized(place)) {
                let tokens = id.map(|id| vec![Token::new(id, String::new(), (0, length))]);
                pieces.push((cut, tokens));
            }
        }
        pieces
    }

    /// Whether the template wrote the control token that `start..end` of `piece` spells.
    fn is_from_template(
        &self,
        piece: &NormalizedString,
        start: usize,
        end: usize,
        added: &Added,
        marks: Option<&[Mark]>,
    ) -> bool {
        let Some(marks) = marks else { return true };
        let Some(range) = piece.convert_offsets(Normalized(start..end)) else { return false };
        // Text that becomes a control token only by normalization was not meant as one.
        if added.token.normalized && piece.get_original().get(range.clone()) != Some(&added.token.content) {
            return false;
        }
        let shift = piece.offsets_original().0;
        !is_guarded(marks, shift + range.start, shift + range.end)
    }
}

/// What pieces that are not the first have before them.
const BEFORE: &str = "x";

/// A piece of a text. The tokenizers crate takes one at offset 0 for the start of the text.
fn normalized(piece: &str, first: bool) -> NormalizedString {
    if first {
        return NormalizedString::from(piece);
    }
    let after = NormalizedString::from([BEFORE, piece].concat());
    after.slice(Normalized(BEFORE.len()..BEFORE.len() + piece.len())).unwrap_or(after)
}

/// Token ids that a tokenizer's post-processor puts before a text.
fn prefix(tokenizer: &Tokenizer) -> Result<Vec<u32>, TokenizerError> {
    const TEXT: u32 = u32::MAX;
    let text = Encoding::from_tokens(vec![Token::new(TEXT, "a".to_owned(), (0, 1))], 0);
    let framed = without_panics(|| tokenizer.post_process(text, None, true))?;
    Ok(framed.get_ids().iter().copied().take_while(|id| *id != TEXT).collect())
}

#[cfg(test)]
impl PromptTokenizer {
    /// The ids that the tokenizers crate gives.
    pub(super) fn reference(&self, text: &str) -> Vec<u32> {
        self.tokenizer.encode(text, false).unwrap().get_ids().to_vec()
    }

    pub(super) fn encodes_words(&self) -> bool {
        self.independent_words
    }

    pub(super) fn spaces(&self) -> Option<Spaces> {
        self.spaces
    }

    /// The number of segments that it remembers.
    pub(super) fn remembered(&self) -> usize {
        self.segments.len()
    }

    /// Forgets what was encoded before.
    pub(super) fn forget(&mut self) {
        self.cache = PieceCache::default();
        self.segments = PieceCache::default();
    }

    pub(super) fn decode(&self, ids: &[u32]) -> String {
        self.tokenizer.decode(ids, false).unwrap()
    }
}
