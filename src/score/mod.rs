//! `assay score` and `assay eval`: files of conversations in, the same rows with scores out.
//!
//! Rows go through in the order of the files here: [`rows`] reads them, [`shape`] says which
//! conversations a row holds, [`judge`] scores those, in this process or through a client, [`columns`]
//! puts the scores into the row, [`journal`] keeps what is done so that a run which was killed continues,
//! [`select`] and [`filter`] choose, [`output`] writes, [`summary`] tells. [`eval`] counts pairs as
//! RewardBench does.

pub mod cli;
mod client;
pub mod columns;
pub mod eval;
pub mod filter;
pub mod journal;
pub mod judge;
pub mod output;
pub mod rows;
pub mod run;
pub mod scored;
pub mod select;
pub mod shape;
pub mod summary;

use std::path::PathBuf;

/// One row of a file: its columns in their order.
pub type Row = serde_json::Map<String, serde_json::Value>;

/// A conversation's scores.
#[derive(Clone, Debug, PartialEq)]
pub struct Judged {
    /// Attribute and score, in the model's order; exactly what a server would send.
    pub scores: Vec<(String, f64)>,
    /// Tokens of the conversation.
    pub tokens: usize,
}

/// A conversation's scores, or why it alone has none.
pub type Verdict = Result<Judged, String>;

/// Why a run ended before its end. What failed in one row alone is in that row.
#[derive(Debug, thiserror::Error)]
pub enum ScoreError {
    /// A file cannot be read.
    #[error("{} cannot be read: {reason}", path.display())]
    Read {
        /// The file; `-` is standard input.
        path: PathBuf,
        /// Why, with the line or row where there is one.
        reason: String,
    },
    /// One row cannot be read; the rows behind it may.
    #[error("{}, {place}: {reason}", path.display())]
    Row {
        /// The file; `-` is standard input.
        path: PathBuf,
        /// The line or row, counted from 1.
        place: String,
        /// Why.
        reason: String,
        /// What stands there, as far as it is text.
        text: String,
    },
    /// A file cannot be written.
    #[error("{} cannot be written: {reason}", path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// Why.
        reason: String,
    },
    /// The rows are of no kind that holds conversations.
    #[error("{0}")]
    Shape(String),
    /// An option makes no sense; the text says which and what to do.
    #[error("{0}")]
    Option(String),
    /// Nothing can be scored any more: the engine or the server is gone.
    #[error("{0}; run the same command again to continue from here")]
    Gone(String),
    /// There are results of another run where this one would write.
    #[error("{0}")]
    Occupied(String),
}

impl ScoreError {
    fn read(path: &std::path::Path, reason: impl ToString) -> Self {
        Self::Read { path: path.to_owned(), reason: reason.to_string() }
    }

    fn write(path: &std::path::Path, reason: impl ToString) -> Self {
        Self::Write { path: path.to_owned(), reason: reason.to_string() }
    }
}
