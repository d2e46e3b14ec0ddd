//! SentencePiece's map of characters: it replaces the longest sequence of the map at each place of a text.
//!
//! The tokenizers crate reads the same map (`Precompiled`), but looks sequences up by grapheme cluster and takes the
//! shortest, which gives other text for decomposed letters, Hangul and kana.

use tokenizers::NormalizedString;

/// Longest replacement in bytes; the longest of Unicode's compatibility decompositions has 33.
const LONGEST: usize = 256;

/// A double-array trie of UTF-8 sequences (as darts-clone lays it out), and their replacements.
#[derive(Debug)]
pub(super) struct Charsmap {
    units: Vec<u32>,
    /// Replacements, each ended by a zero byte. The trie's values are offsets.
    replacements: Vec<u8>,
}

impl Charsmap {
    /// Parses `precompiled_charsmap` of a SentencePiece model; `None` if it is malformed.
    pub(super) fn parse(blob: &[u8]) -> Option<Self> {
        let (size, rest) = blob.split_first_chunk::<4>()?;
        let (trie, replacements) = rest.split_at_checked(u32::from_le_bytes(*size) as usize)?;
        let (units, remainder) = trie.as_chunks::<4>();
        if units.is_empty() || !remainder.is_empty() {
            return None;
        }
        let units = units.iter().map(|unit| u32::from_le_bytes(*unit)).collect();
        Some(Self { units, replacements: replacements.to_vec() })
    }

    /// The longest sequence that `text` starts with, in bytes, and its replacement.
    fn longest_match(&self, text: &str) -> Option<(usize, &str)> {
        let offset = |unit: u32| ((unit >> 10) << ((unit & (1 << 9)) >> 6)) as usize;
        let mut node = offset(*self.units.first()?);
        let mut found = None;
        for (index, &byte) in text.as_bytes().iter().enumerate().take_while(|(_, byte)| **byte != 0) {
            node ^= usize::from(byte);
            let Some(&unit) = self.units.get(node) else { break };
            if unit & (1 << 31 | 0xff) != u32::from(byte) {
                break;
            }
            node ^= offset(unit);
            if unit >> 8 & 1 == 1
                && let Some(leaf) = self.units.get(node)
                && let Some(replacement) = self.replacement((leaf & !(1 << 31)) as usize)
                && text.is_char_boundary(index + 1)
            {
                found = Some((index + 1, replacement));
            }
        }
        found
    }

    fn replacement(&self, offset: usize) -> Option<&str> {
        let rest = self.replacements.get(offset..)?;
        let end = rest.iter().take(LONGEST + 1).position(|byte| *byte == 0)?;
        std::str::from_utf8(&rest[..end]).ok()
    }

    /// Replaces what the map has, and keeps track of where each character came from.
    pub(super) fn normalize(&self, normalized: &mut NormalizedString) {
        let text = normalized.get().to_owned();
        let mut characters: Vec<(char, isize)> = Vec::with_capacity(text.len());
        let (mut rest, mut removed, mut changed) = (text.as_str(), 0, false);
        while let Some(first) = rest.chars().next() {
            let (length, replacement) = match self.longest_match(rest) {
                Some(found) => found,
                None => (first.len_utf8(), &rest[..first.len_utf8()]),
            };
            let replaced = &rest[..length];
            changed |= replaced != replacement;
            rest = &rest[length..];
            let (old, start) = (replaced.chars().count(), characters.len());
            characters.extend(replacement.chars().map(|c| (c, 0)));
            let new = characters.len() - start;
            if new > old {
                characters[start + old..].iter_mut().for_each(|(_, change)| *change = 1);
            } else if let Some((_, change)) = characters.last_mut() {
                *change -= (old - new) as isize;
            } else {
                removed += old;
            }
        }
        if changed {
            normalized.transform(characters, removed);
        }
    }
}
