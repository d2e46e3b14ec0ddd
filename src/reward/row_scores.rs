//! Heads with one score per row, read at one token.

use std::ops::Range;

use super::error::{HeadError, RewardError, check_count};
use crate::manifest;

/// Which of the outputs are served.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct RowScores {
    /// Indices among the outputs.
    chosen: Vec<usize>,
    outputs: usize,
    place: Place,
}

/// The token that is read.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Place {
    First,
    Last,
    LastExcept { pad: u32 },
}

impl RowScores {
    pub(super) fn new(head: &manifest::ManifestHead) -> Self {
        let outputs = head.outputs();
        let place = match head.pooling {
            manifest::Pooling::LastNonPad { pad } => Place::LastExcept { pad },
            // The engine puts the mean there.
            manifest::Pooling::FirstToken | manifest::Pooling::Mean => Place::First,
            _ => Place::Last,
        };
        Self { chosen: (0..outputs).collect(), outputs, place }
    }

    /// The position that is read.
    pub(super) fn position(&self, tokens: &[u32]) -> usize {
        match self.place {
            Place::First => 0,
            Place::Last => tokens.len().saturating_sub(1),
            Place::LastExcept { pad } => tokens.iter().rposition(|&token| token != pad).unwrap_or(0),
        }
    }

    /// Whether only the whole text has a score, so that outputs at other tokens are meaningless.
    pub(super) fn is_of_whole_text(&self) -> bool {
        self.place == Place::First
    }

    /// Keeps the scores of some rows of the model's own head, and their `attributes`.
    pub(super) fn choose(
        &mut self,
        head: &manifest::ManifestHead,
        rows: &Range<usize>,
        attributes: &mut Vec<String>,
    ) -> Result<(), HeadError> {
        let held = if head.rows.is_empty() { self.chosen.clone() } else { head.rows.clone() };
        let mut chosen = Vec::new();
        for row in rows.clone() {
            let found = held.iter().position(|&held| held == row).filter(|&index| index < attributes.len());
            chosen.extend(found);
        }
        if chosen.is_empty() || chosen.len() != rows.len() {
            let last = rows.end.saturating_sub(1);
            return Err(HeadError::UnknownRows { first: rows.start, last, held });
        }
        *attributes = chosen.iter().map(|&index| attributes[index].clone()).collect();
        self.chosen = chosen;
        Ok(())
    }

    /// The scores among `outputs`, raw.
    pub(super) fn scores(&self, outputs: &[f32]) -> Result<Vec<f32>, RewardError> {
        check_count(outputs.len(), self.outputs)?;
        Ok(self.chosen.iter().map(|&index| outputs[index]).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::manifest::Pooling;

    #[test]
    fn padding_at_the_end_is_not_read_if_the_head_says_so() {
        let head =
            |pooling| manifest::ManifestHead { attributes: vec!["a".into()], pooling, ..Default::default() };
        let skips = RowScores::new(&head(Pooling::LastNonPad { pad: 7 }));
        let last = RowScores::new(&head(Pooling::LastToken));
        for (tokens, position) in [(&[1, 7, 2, 7, 7][..], 2), (&[7, 7], 0), (&[1], 0), (&[7, 1], 1)] {
            assert_eq!((skips.position(tokens), last.position(tokens)), (position, tokens.len() - 1));
        }
    }
}
