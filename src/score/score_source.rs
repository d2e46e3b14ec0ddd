//! What scores conversations: an engine in this process ([`super::in_process`]), or servers ([`super::client`]).

use std::sync::Arc;

use futures_util::future::BoxFuture;

use super::row_options::RowOptions;
use super::{ScoreError, ScoreResult};
use crate::manifest::EngineIdentity;
use crate::prompt::{Message, TemplateVariables};

/// The model has no scores.
#[derive(Debug, thiserror::Error)]
#[error(
    "{0} generates text and has no scores; give questions by --judge FILE, here to an engine or to the server when it is \
     started, or name a reward model"
)]
struct NoScores(String);

/// Why principles of rows are not used.
pub(super) const NO_PRINCIPLES: &str = "and the model was not trained with principles; rename the column";

/// What scores the conversations of a run.
pub(super) trait ScoreSource: Send + Sync {
    /// Name of the model.
    fn model(&self) -> &str;

    /// Identifies the engine in a journal.
    fn identity(&self) -> String;

    /// The profile id of the engine, if it is known.
    fn engine_id(&self) -> Option<&str>;

    /// What the scores come from, for signatures.
    ///
    /// # Errors
    /// Why that cannot be said, and what to do.
    fn engine_identity(&self) -> Result<EngineIdentity, &'static str>;

    /// How many engines score at the same time.
    fn engines(&self) -> usize;

    /// Whether the model has no scores, so that each row must bring a rubric.
    fn needs_rubrics(&self) -> bool;

    /// Why rows may not bring a principle, and what to do; `None` if the model may be able to use one.
    fn refuses_principles(&self) -> Option<&'static str>;

    /// What a language model is asked in every row, for a journal; empty if that is up to the model.
    fn questions(&self) -> String;

    /// Names of the scores that every conversation has, as far as they are known; none if the model scores steps.
    fn attributes(&self) -> Vec<String>;

    /// The score that ranks responses by default: the rule of `/v1/rewards`. `None` for a server that does not
    /// say; then it is the first.
    fn ranked_by(&self) -> Option<String>;

    /// Every name that responses can be ranked by; empty if that is not known before the first answer.
    fn ranking_names(&self) -> Vec<String>;

    /// The token that must follow each step, if the model scores steps.
    fn step_token(&self) -> Option<&str>;

    /// Scores the conversations of one row, in their order, by the row's own rubric or principle if it has one. What they
    /// share is computed once. The row's variables for the chat template override those of the run.
    ///
    /// # Errors
    /// [`ScoreError::Gone`].
    fn score<'a>(
        &'a self,
        conversations: &'a [Vec<Message>],
        row: RowOptions<'a>,
    ) -> BoxFuture<'a, Result<Vec<ScoreResult>, ScoreError>>;
}

/// A source that the tasks of a run share.
pub(super) type SharedSource = Arc<dyn ScoreSource>;

impl dyn ScoreSource {
    /// Checks that the model has scores of its own, or of a rubric that all rows share.
    ///
    /// # Errors
    /// [`ScoreError::Setup`].
    pub(super) fn check_has_scores(&self) -> Result<(), ScoreError> {
        if self.needs_rubrics() {
            Err(ScoreError::Setup(NoScores(self.model().to_owned()).into()))
        } else {
            Ok(())
        }
    }
}

/// The chat template's variables, for a journal; nothing if there are none.
pub(super) fn variables_in_journal(variables: &TemplateVariables) -> String {
    if variables.is_empty() {
        String::new()
    } else {
        format!(", chat_template_kwargs {}", variables.to_json())
    }
}
