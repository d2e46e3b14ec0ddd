//! `assay score` and `assay eval`: files of conversations in, the same rows with scores out.
//!
//! In the order in which a row passes through them: `rows` reads it, `shape` and `conversation` find the
//! conversations in it, `backend` scores those, in this process or through a server (`client`), `columns`
//! adds the scores to the row, and `journal` keeps it, so that an interrupted run can continue. When all
//! rows are scored, `select` applies `--best-of` and `--filter`, `output` writes the file, and `summary`
//! prints statistics. `run` and `pipeline` connect these. `eval` computes RewardBench's accuracies.

mod backend;
mod best_of;
pub mod cli;
mod client;
mod columns;
mod conversation;
mod error;
mod eval;
mod filter;
mod filter_parser;
mod inspect;
mod journal;
mod output;
mod parquet_output;
mod pipeline;
mod progress;
mod replayable;
mod report_data;
pub mod rows;
mod run;
mod select;
pub mod shape;
mod summary;

pub(crate) use error::Unscored;
pub use error::{ConversationError, ScoreError};

/// One row of a file: its columns in their order.
pub type Row = serde_json::Map<String, serde_json::Value>;

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
