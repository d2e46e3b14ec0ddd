//! Rows that can be read several times.

use std::collections::HashSet;

use super::super::ScoreError;
use super::super::row::Row;

/// Rows, each with its index among the rows of the inputs.
pub(in crate::score) type IndexedRows<'a> = Box<dyn Iterator<Item = Result<(usize, Row), ScoreError>> + 'a>;

/// Rows that can be read several times, each time from the first.
pub(in crate::score) trait Replayable {
    /// An iterator over all rows.
    fn rows(&self) -> Result<IndexedRows<'_>, ScoreError>;

    /// The rows that show the names and types of columns: by default the same rows; others if there may be
    /// none.
    fn rows_of_columns(&self) -> Result<IndexedRows<'_>, ScoreError> {
        self.rows()
    }

    /// Columns whose values are not those of the inputs, although they are called the same.
    fn changed_columns(&self) -> &[String];

    /// The columns of all rows, in the order in which they first occur.
    fn column_names(&self) -> Result<Vec<String>, ScoreError> {
        let (mut names, mut known) = (Vec::new(), HashSet::new());
        for row in self.rows_of_columns()? {
            for name in row?.1.names() {
                if known.insert(name.to_owned()) {
                    names.push(name.to_owned());
                }
            }
        }
        Ok(names)
    }
}
