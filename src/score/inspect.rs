//! Finds the form of the rows before anything is loaded.

use std::path::PathBuf;

use super::columns::ScoreColumns;
use super::forms::{FormArgs, RowLayout};
use super::row::Row;
use super::rows::{self, Rows};
use super::{ConversationError, ScoreError};

/// Rows to inspect for one whose form is known.
const INSPECTED_ROWS: usize = 64;

/// The rows of the first input, the first of which have been read: standard input cannot be read twice.
pub(super) struct Peeked {
    read: Vec<Result<Row, ScoreError>>,
    rest: Rows,
}

impl Peeked {
    /// The row whose form was found.
    pub(super) fn first(&self) -> Option<&Row> {
        self.read.last().and_then(|row| row.as_ref().ok())
    }

    /// All rows of the input.
    pub(super) fn into_rows(self) -> impl Iterator<Item = Result<Row, ScoreError>> + Send {
        self.read.into_iter().chain(self.rest)
    }
}

/// Finds the form of the rows of `inputs`: that of the first row which has one.
///
/// # Errors
/// There are no rows, none is in a known form, or the first has a column that would be replaced.
pub(super) fn inspect(
    inputs: &[PathBuf],
    form: &FormArgs,
    columns: &ScoreColumns,
) -> Result<(RowLayout, Peeked), ScoreError> {
    let form = &form.of_inputs(inputs);
    let path = inputs.first().ok_or(ScoreError::NoInput)?;
    let mut rest = rows::open(path)?;
    let (mut read, mut no_form) = (Vec::new(), None);
    for row in rest.by_ref().take(INSPECTED_ROWS) {
        let row = match row {
            Err(error @ ScoreError::Row { .. }) => {
                read.push(Err(error));
                continue;
            }
            row => row?,
        };
        match RowLayout::detect(&row, form) {
            Ok(layout) => {
                if let Err(error @ ConversationError::NotAConversation(_)) = layout.found(&row) {
                    return Err(ScoreError::read(path, error));
                }
                layout.check_chosen(&row)?;
                if let Some(column) = columns.collision(&row, &layout) {
                    return Err(ScoreError::ColumnExists { path: path.clone(), column: column.to_owned() });
                }
                read.push(Ok(row));
                return Ok((layout, Peeked { read, rest }));
            }
            Err(error) => {
                no_form.get_or_insert(error);
            }
        }
        read.push(Ok(row));
    }
    let unreadable = read.into_iter().find_map(Result::err);
    Err(no_form.or(unreadable).unwrap_or_else(|| ScoreError::read(path, "it has no rows")))
}
