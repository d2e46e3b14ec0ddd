//! Rubrics: the questions of one request, to an engine that has the logits of the whole vocabulary.

use std::sync::Arc;

use super::{Scorable, Scorer, ServingError};
use crate::manifest;
use crate::manifest::judge::{Judge, QuestionError, QuestionLayout, RubricItem};
use crate::manifest::score_options::ScoreOptions;
use crate::prompt::{AnswerTokens, EncodeOptions, Message};
use crate::reward::Head;

/// The engine has only the logits of its own scores.
#[derive(Debug, thiserror::Error)]
#[error(
    "a rubric asks about the answers of a language model, and this engine has only the logits of its own scores; leave \
     it out, or serve an engine that generates text"
)]
pub(crate) struct NoVocabulary;

/// Why a rubric cannot be asked.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RubricError {
    #[error(transparent)]
    NoVocabulary(#[from] NoVocabulary),
    /// The layout does not suit the chat template.
    #[error("{0}")]
    Layout(QuestionError),
    #[error("{source}")]
    Item { index: usize, source: QuestionError },
}

impl Scorer {
    /// Checks that rubrics can be asked.
    ///
    /// # Errors
    /// The engine does not have the logits of the whole vocabulary.
    pub(crate) fn check_takes_rubrics(&self) -> Result<(), NoVocabulary> {
        if self.has_vocabulary() { Ok(()) } else { Err(NoVocabulary) }
    }

    /// The head of a rubric: a score for each item, and their weighted sum. The items were checked by themselves.
    ///
    /// # Errors
    /// See [`RubricError`].
    pub(crate) fn rubric(
        &self,
        items: Vec<RubricItem>,
        layout: QuestionLayout,
    ) -> Result<Arc<Head>, RubricError> {
        self.check_takes_rubrics()?;
        let limit = self.limits().longest();
        let mut tokens = AnswerTokens::new(self.encoder(), layout, limit).map_err(RubricError::Layout)?;
        let (mut attributes, mut questions) = (Vec::new(), Vec::new());
        let mut score = ScoreOptions::default();
        for (index, RubricItem { name, mut question, weight }) in items.into_iter().enumerate() {
            tokens.resolve(&mut question).map_err(|source| RubricError::Item { index, source })?;
            score.weights.insert(name.clone(), weight);
            attributes.push(name);
            questions.push(question);
        }
        let judge = Some(Judge { layout, questions });
        Ok(Arc::new(Head::new(&manifest::ManifestHead { attributes, judge, score, ..Default::default() })))
    }

    /// The prompts of a rubric's items about a conversation.
    ///
    /// # Errors
    /// The template refuses the conversation or the question after it.
    pub(crate) fn encode_rubric(
        &self,
        messages: &[Message],
        options: EncodeOptions<'_>,
        rubric: &Arc<Head>,
    ) -> Result<Scorable, ServingError> {
        self.encode_questions(messages, options, rubric, Some(rubric.clone()))
    }
}
