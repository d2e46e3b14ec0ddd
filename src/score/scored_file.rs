//! How to read a file that `assay score` wrote.

use std::path::PathBuf;

use super::ScoreError;
use super::columns::ScoreColumns;
use super::forms::FormArgs;

/// Options that say where such a file has what was scored, and the scores.
#[derive(Clone, Debug, clap::Args)]
#[group(skip)]
pub(super) struct ScoredFileArgs {
    #[command(flatten)]
    pub(super) form: FormArgs,
    /// Start of the names of the columns with scores
    #[arg(long, default_value = "score_", value_name = "TEXT")]
    prefix: String,
    /// Names of the scores, for example helpfulness,correctness; needed if --prefix is empty, or starts the names of other
    /// columns [default: all]
    #[arg(long, value_name = "NAME", value_delimiter = ',')]
    attributes: Vec<String>,
}

impl ScoredFileArgs {
    /// The columns with scores, of which `by` ranks the rows.
    ///
    /// # Errors
    /// [`ScoreError::UnnamedScores`].
    pub(super) fn columns(&self, by: Option<&str>) -> Result<ScoreColumns, ScoreError> {
        if self.prefix.is_empty() && self.attributes.is_empty() {
            return Err(ScoreError::UnnamedScores);
        }
        let mut columns = ScoreColumns::new(&self.prefix, by);
        columns.attributes.clone_from(&self.attributes);
        Ok(columns)
    }

    /// The form of the rows of `input`.
    pub(super) fn form_of(&self, input: &PathBuf) -> FormArgs {
        self.form.for_inputs(std::slice::from_ref(input))
    }
}
