//! `assay score` and `assay eval`: files of conversations in, the same rows with scores out.
//!
//! In the order in which a row passes through them: `rows` reads it, `forms` and `conversation` find the
//! conversations in it, a `score_source` scores those, `in_process` or through a server (`client`), `add_scores`
//! adds the scores to the row, and `journal` keeps it, so that an interrupted run can continue. When all
//! rows are scored, `select` applies `--best-of` and `--filter`, `output` writes the file, and `summary`
//! prints statistics. `run` and `pipeline` connect these. `eval` computes RewardBench's accuracies. `disk` has the
//! operations on files that a run's safety depends on; `power_cuts` tests them on a disk that tears what was not synced.

mod add_scores;
mod best_of;
pub mod check;
pub mod cli;
mod client;
mod columns;
mod conversation;
mod criteria;
mod dialogue;
mod disk;
pub mod drift;
mod error;
mod eval;
mod filter;
mod filter_parser;
pub mod forms;
mod in_process;
mod inspect;
mod interrupt;
mod journal;
mod margins;
mod output;
mod pipeline;
#[cfg(test)]
mod power_cuts;
mod progress;
mod python_literal;
mod report_data;
mod row;
mod row_options;
pub mod rows;
mod run;
mod score_source;
mod scored_file;
mod scores_of_row;
mod select;
mod signatures;
mod subset;
mod summary;
mod token_warning;
#[cfg(test)]
mod torn_disk;
mod unread;
pub mod verify;
mod whole_table;

pub(crate) use error::Unscored;
pub use error::{ConversationError, ScoreError};
pub use row::{Cell, Row};

/// The scores of one conversation.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct ConversationScores {
    /// Attributes and their scores, in the model's order; exactly what a server would send.
    pub(crate) scores: Vec<(String, f64)>,
    /// Number of tokens of the conversation.
    pub(crate) tokens: usize,
}

/// The scores of one conversation, or why it has none.
pub(crate) type ScoreResult = Result<ConversationScores, Unscored>;
