//! What a row says that its conversations are scored by: the columns `rubric` and `principle`.

use serde_json::Value;

use super::conversation::list;
use super::row_options::RowOptions;
use super::score_source::ScoreSource;
use super::{ConversationError, Row, ScoreError};
use crate::prompt::TemplateVariables;

/// The column with the rubric of a row, as requests spell it.
pub(super) const RUBRIC: &str = "rubric";
/// The column with the principle of a row.
pub(super) const PRINCIPLE: &str = "principle";

/// Why the rubrics of rows are not asked.
const OWN_SCORES: &str =
    "and the model has scores of its own; name a model that generates text, or rename the column";
const SAME_QUESTIONS: &str = "and --judge, --rubric or the engine says what is asked about all rows; leave that out, or \
                              rename the column";
const NOT_A_TEXT: &str = "which is not a text; write it as one, or rename the column";

/// The model has no scores, and the rows bring no rubrics.
#[derive(Debug, thiserror::Error)]
#[error(
    "{0} generates text and has no scores; ask it questions with --rubric FILE, or in a column `{RUBRIC}` of each row"
)]
struct NoRubrics(String);

/// The names of scores are not known before they are read.
#[derive(Debug, thiserror::Error)]
#[error(
    "with an empty --prefix, the scores of rows' own rubrics cannot be told from other columns; give a prefix"
)]
struct NoPrefix;

/// The first row has a column that would change its scores, and that the model cannot use.
#[derive(Debug, thiserror::Error)]
#[error("the first row has a `{column}`, {reason}")]
struct UnusableColumn {
    column: &'static str,
    reason: &'static str,
}

/// What a row says that its conversations are scored by; nothing if that is up to the run.
#[derive(Clone, Debug, Default)]
pub(super) struct RowCriteria {
    rubric: Option<Value>,
    principle: Option<String>,
}

impl RowCriteria {
    /// Reads the columns of a row.
    ///
    /// # Errors
    /// The model of `source` cannot use one that is there, or needs a rubric that is not.
    pub(super) fn read(row: &Row, source: &dyn ScoreSource) -> Result<Self, ConversationError> {
        let rubric = rubric(row);
        if source.needs_rubrics() {
            if rubric.is_none() {
                return Err(ConversationError::Missing(RUBRIC.to_owned()));
            }
            return Ok(Self { rubric, principle: principle(row, source)? });
        }
        // Only a list can be meant as questions.
        if rubric.is_some_and(|rubric| rubric.as_array().is_some_and(|items| !items.is_empty())) {
            let reason = if source.questions().is_empty() { OWN_SCORES } else { SAME_QUESTIONS };
            return Err(ConversationError::Criterion { column: RUBRIC, reason });
        }
        Ok(Self { rubric: None, principle: principle(row, source)? })
    }

    /// They, with the variables that the row gives to the chat template.
    pub(super) fn with_variables<'a>(&'a self, variables: &'a TemplateVariables) -> RowOptions<'a> {
        RowOptions { variables, rubric: self.rubric.as_ref(), principle: self.principle.as_deref() }
    }
}

impl dyn ScoreSource {
    /// Checks that rows like `first` can be scored, and their scores found in columns that start with `prefix`.
    ///
    /// # Errors
    /// [`ScoreError::Setup`].
    pub(super) fn check_rows(&self, first: Option<&Row>, prefix: &str) -> Result<(), ScoreError> {
        if self.needs_rubrics() && !first.is_some_and(|row| row.contains(RUBRIC)) {
            return Err(ScoreError::Setup(NoRubrics(self.model().to_owned()).into()));
        }
        if self.needs_rubrics() && prefix.is_empty() {
            return Err(ScoreError::Setup(NoPrefix.into()));
        }
        match first.map(|row| RowCriteria::read(row, self)) {
            Some(Err(ConversationError::Criterion { column, reason })) => {
                Err(ScoreError::Setup(UnusableColumn { column, reason }.into()))
            }
            // What else is wrong with it, the row says itself.
            _ => Ok(()),
        }
    }
}

/// The rubric of a row, which may be in a text.
fn rubric(row: &Row) -> Option<Value> {
    let value = row.get(RUBRIC).filter(|cell| !cell.is_null())?.value();
    Some(list(&value).map_or(value, Value::Array))
}

fn principle(row: &Row, source: &dyn ScoreSource) -> Result<Option<String>, ConversationError> {
    let Some(cell) = row.get(PRINCIPLE).filter(|cell| !cell.is_null()) else { return Ok(None) };
    let text = cell.as_text();
    if text.as_ref().is_some_and(|text| text.trim().is_empty()) {
        return Ok(None);
    }
    match (source.refuses_principles(), text) {
        (Some(reason), _) => Err(ConversationError::Criterion { column: PRINCIPLE, reason }),
        (None, None) => Err(ConversationError::Criterion { column: PRINCIPLE, reason: NOT_A_TEXT }),
        (None, text) => Ok(text),
    }
}
