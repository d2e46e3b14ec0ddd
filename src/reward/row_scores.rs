//! Heads with one score per row, read at the last token.

use std::ops::Range;

use super::error::{HeadError, RewardError, check_count};
use crate::manifest;

/// Which of the outputs are served.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct RowScores {
    /// Indices among the outputs.
    chosen: Vec<usize>,
    outputs: usize,
}

impl RowScores {
    pub(super) fn new(head: &manifest::Head) -> Self {
        let outputs = head.outputs();
        Self { chosen: (0..outputs).collect(), outputs }
    }

    /// Keeps the scores of some rows of the model's own head, and their `attributes`.
    pub(super) fn choose(
        &mut self,
        head: &manifest::Head,
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
