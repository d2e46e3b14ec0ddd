//! Pairs of responses, of which a language model says which is better.

use std::sync::Arc;

use super::questions::fitting;
use super::{LengthPolicy, RubricError, Scorable, Scorer, ServingError};
use crate::manifest;
use crate::manifest::judge::{Judge, QuestionLayout};
use crate::prompt::{AnswerTokens, Message, TemplateVariables, which_is_better};
use crate::reward::Head;

/// The score of a pair: the probability that its first response is the better one.
const FIRST: &str = "first";

impl Scorer {
    /// The head that scores pairs.
    ///
    /// # Errors
    /// See [`RubricError`].
    pub(crate) fn comparison(&self) -> Result<Arc<Head>, RubricError> {
        self.check_takes_rubrics()?;
        let (layout, mut question) = (QuestionLayout::Quote, which_is_better());
        let mut tokens = AnswerTokens::new(self.encoder(), layout, self.limits().longest())
            .map_err(RubricError::Layout)?;
        tokens.resolve(&mut question).map_err(|source| RubricError::Item { index: 0, source })?;
        let judge = Some(Judge { layout, questions: vec![question] });
        let attributes = vec![FIRST.to_owned()];
        Ok(Arc::new(Head::new(&manifest::ManifestHead { attributes, judge, ..Default::default() })))
    }

    /// The prompt for two responses to a conversation, in this order.
    ///
    /// # Errors
    /// The template refuses the conversation, or the prompt is longer than the engine takes.
    pub(crate) fn encode_comparison(
        &self,
        messages: &[Message],
        responses: [&str; 2],
        variables: &TemplateVariables,
        head: &Arc<Head>,
    ) -> Result<Scorable, ServingError> {
        let whole = self.fit(LengthPolicy::default());
        let ask = head.judge().and_then(|judge| judge.questions.first()).map_or("", |question| &question.ask);
        let tokens = self.encoder().encode_comparison(messages, responses, ask, Some(variables), whole);
        let prompt = fitting(tokens, (0, false), whole.limit)?;
        Ok(Scorable::questions(vec![prompt], Some(head.clone())))
    }
}
