//! [`PieceCache`]: token ids of pieces of text that were encoded lately.
//!
//! Requests repeat long texts: a prompt comes with each of its responses, a system turn with every conversation.
//! The added tokens cut a text into pieces, and a piece is encoded in the same way whatever surrounds it. So the
//! responses of one call differ from each other by a piece, and all else is encoded for the first of them.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use super::injection_guard::Mark;

/// Shorter pieces are encoded again: that is as fast as finding them. Unit tests have shorter texts.
pub(super) const SHORTEST: usize = if cfg!(test) { 8 } else { 256 };
/// Bytes of text, and of marks, that the cache may hold.
const CAPACITY: usize = 8 << 20;

/// What a piece's ids depend on.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Piece {
    pub(super) text: Box<str>,
    /// Whether it is at the start of its text: some tokenizers put a space there.
    pub(super) first: bool,
    /// Its marks, which guard text of turns; `None` if all control tokens are honoured.
    pub(super) marks: Option<Box<[Mark]>>,
}

impl Piece {
    fn bytes(&self) -> usize {
        self.text.len() + self.marks.as_ref().map_or(0, |marks| size_of_val(&**marks))
    }
}

/// The pieces of the last texts. Those that were used since half of the capacity was filled stay; the others are
/// forgotten together.
#[derive(Debug, Default)]
pub(super) struct PieceCache {
    halves: Mutex<Halves>,
}

#[derive(Debug, Default)]
struct Halves {
    new: HashMap<Piece, Arc<[u32]>>,
    old: HashMap<Piece, Arc<[u32]>>,
    /// Bytes of the pieces in `new`.
    bytes: usize,
}

impl PieceCache {
    /// The ids of a piece, if it was encoded lately.
    pub(super) fn get(&self, piece: &Piece) -> Option<Arc<[u32]>> {
        let mut halves = self.halves.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(ids) = halves.new.get(piece) {
            return Some(ids.clone());
        }
        let (piece, ids) = halves.old.remove_entry(piece)?;
        halves.insert(piece, ids.clone());
        Some(ids)
    }

    /// Keeps the ids of a piece, unless it is very long.
    pub(super) fn insert(&self, piece: Piece, ids: &[u32]) {
        if piece.bytes() <= CAPACITY / 8 {
            self.halves.lock().unwrap_or_else(PoisonError::into_inner).insert(piece, ids.into());
        }
    }
}

impl Halves {
    fn insert(&mut self, piece: Piece, ids: Arc<[u32]>) {
        if self.bytes + piece.bytes() > CAPACITY / 2 {
            self.old = std::mem::take(&mut self.new);
            self.bytes = 0;
        }
        self.bytes += piece.bytes();
        self.new.insert(piece, ids);
    }
}

#[cfg(test)]
impl PieceCache {
    /// The number of pieces that it holds.
    pub(super) fn len(&self) -> usize {
        let halves = self.halves.lock().unwrap();
        halves.new.len() + halves.old.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn piece(index: usize) -> Piece {
        Piece { text: format!("{index:0>50000}").into(), first: false, marks: Some(Box::default()) }
    }

    #[test]
    fn pieces_in_use_stay_and_the_rest_is_forgotten() {
        let cache = PieceCache::default();
        for index in 0..1000 {
            cache.insert(piece(index), &[index as u32]);
            assert_eq!(cache.get(&piece(0)).as_deref(), Some(&[0][..]));
        }
        assert_eq!(cache.get(&piece(999)).as_deref(), Some(&[999][..]));
        assert_eq!(cache.get(&piece(1)), None);
        assert_eq!(cache.get(&Piece { marks: None, ..piece(0) }), None);
        let halves = cache.halves.lock().unwrap();
        let bytes: usize = halves.new.keys().chain(halves.old.keys()).map(|piece| piece.text.len()).sum();
        assert!(bytes <= CAPACITY, "{bytes}");
    }
}
