//! Rows that can be read several times.

use super::{Row, ScoreError};

/// Rows that can be read several times, each time from the first.
pub(super) trait Replayable {
    /// An iterator over all rows.
    fn rows(&self) -> Result<Box<dyn Iterator<Item = Result<Row, ScoreError>> + '_>, ScoreError>;

    /// The columns of all rows, in the order in which they first occur.
    fn column_names(&self) -> Result<Vec<String>, ScoreError> {
        let mut names: Vec<String> = Vec::new();
        for row in self.rows()? {
            for name in row?.keys() {
                if !names.contains(name) {
                    names.push(name.clone());
                }
            }
        }
        Ok(names)
    }
}
