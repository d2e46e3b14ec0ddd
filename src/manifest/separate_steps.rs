//! Steps that are encoded one by one.

use serde::{Deserialize, Serialize};

/// How the steps of a response are encoded, for models that were trained on steps encoded one by one. In one text, the
/// tokenizer would join a line break that ends a step with the text before it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SeparateSteps {
    /// The text between two steps of an assistant's turn.
    pub separator: String,
    /// The token ids that follow each step instead.
    pub ids: Vec<u32>,
}
