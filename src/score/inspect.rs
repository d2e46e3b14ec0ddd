//! Detects the shape of the rows before anything is loaded.

use std::path::PathBuf;

use super::columns::ScoreColumns;
use super::rows::{self, Rows};
use super::shape::{ColumnNames, RowShape};
use super::{Row, ScoreError};

/// Rows to inspect for one that has a shape.
const INSPECTED_ROWS: usize = 64;

/// The rows of the first input, the first of which have been read: standard input cannot be read twice.
pub(super) struct Peeked {
    read: Vec<Result<Row, ScoreError>>,
    rest: Rows,
}

impl Peeked {
    /// All rows of the input.
    pub(super) fn into_rows(self) -> impl Iterator<Item = Result<Row, ScoreError>> + Send {
        self.read.into_iter().chain(self.rest)
    }
}

/// Detects the shape of the rows of `inputs`: that of the first row which has one.
///
/// # Errors
/// There are no rows, none has a known shape, or the first has a column that would be replaced.
pub(super) fn inspect(
    inputs: &[PathBuf],
    names: &ColumnNames,
    columns: &ScoreColumns,
) -> Result<(RowShape, Peeked), ScoreError> {
    let path = inputs.first().ok_or(ScoreError::NoInput)?;
    let mut rest = rows::open(path)?;
    let (mut read, mut no_shape) = (Vec::new(), None);
    for row in rest.by_ref().take(INSPECTED_ROWS) {
        let row = match row {
            Err(error @ ScoreError::Row { .. }) => {
                read.push(Err(error));
                continue;
            }
            row => row?,
        };
        match RowShape::detect(&row, names) {
            Ok(shape) => {
                if let Some(column) = columns.collision(&row, &shape) {
                    return Err(ScoreError::ColumnExists { path: path.clone(), column: column.to_owned() });
                }
                read.push(Ok(row));
                return Ok((shape, Peeked { read, rest }));
            }
            Err(error) => {
                no_shape.get_or_insert(error);
            }
        }
        read.push(Ok(row));
    }
    let unreadable = read.into_iter().find_map(Result::err);
    Err(no_shape.or(unreadable).unwrap_or_else(|| ScoreError::read(path, "it has no rows")))
}
