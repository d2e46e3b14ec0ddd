//! Steps that are encoded one by one.

use serde::{Deserialize, Serialize};

/// How the steps of a response are encoded, for models that were trained on steps which were encoded apart: line breaks
/// that end steps would be joined with the text before them otherwise.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SeparateSteps {
    /// The text between two steps of an assistant's turn.
    pub separator: String,
    /// The token ids that follow each step instead.
    pub ids: Vec<u32>,
}
