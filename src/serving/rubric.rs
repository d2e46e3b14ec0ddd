//! Rubrics: the questions of one request, to an engine that has the logits of the whole vocabulary.

use std::sync::Arc;

use super::{Scorable, Scorer, ServingError};
use crate::manifest::judge::{Judge, Layout, MOST_QUESTIONS, Question, QuestionError};
use crate::manifest::score_options::ScoreOptions;
use crate::manifest::{self, AttributeNameError, check_attribute_names};
use crate::prompt::{AnswerTokens, EncodeOptions, Message};
use crate::reward::{Head, ScoreOptionsError, check_options};

/// An item of a rubric.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct RubricItem {
    /// The name of its score.
    pub(crate) name: String,
    pub(crate) question: Question,
    /// What its score weighs in the sum.
    pub(crate) weight: f64,
}

/// Why a rubric cannot be asked.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RubricError {
    #[error(
        "asks about the answers of a language model, and this engine has only the logits of its own scores; serve an \
         engine that generates text"
    )]
    NoVocabulary,
    #[error("has {0} items; send 1 to {MOST_QUESTIONS}")]
    Count(usize),
    #[error("{0}")]
    Name(AttributeNameError),
    #[error("{0}")]
    Options(ScoreOptionsError),
    #[error("{0}")]
    Template(QuestionError),
    #[error("{source}")]
    Item { index: usize, source: QuestionError },
}

impl Scorer {
    /// The head of a rubric: a score for each item, and their weighted sum.
    ///
    /// # Errors
    /// See [`RubricError`].
    pub(crate) fn rubric(&self, items: Vec<RubricItem>, layout: Layout) -> Result<Arc<Head>, RubricError> {
        if !self.has_vocabulary() {
            return Err(RubricError::NoVocabulary);
        }
        if !(1..=MOST_QUESTIONS).contains(&items.len()) {
            return Err(RubricError::Count(items.len()));
        }
        let mut tokens = AnswerTokens::new(self.encoder(), layout).map_err(RubricError::Template)?;
        let (mut attributes, mut questions) = (Vec::new(), Vec::new());
        let mut score = ScoreOptions::default();
        for (index, RubricItem { name, mut question, weight }) in items.into_iter().enumerate() {
            tokens.resolve(&mut question).map_err(|source| RubricError::Item { index, source })?;
            score.weights.insert(name.clone(), weight);
            attributes.push(name);
            questions.push(question);
        }
        check_attribute_names(&attributes).map_err(RubricError::Name)?;
        check_options(&score, &attributes, false).map_err(RubricError::Options)?;
        let judge = Some(Judge { layout, questions });
        Ok(Arc::new(Head::new(&manifest::Head { attributes, judge, score, ..Default::default() })))
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
