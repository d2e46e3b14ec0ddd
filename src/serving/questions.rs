//! The prompts of a judge's questions.

use std::sync::Arc;

use super::{LengthPolicy, Scorable, Scorer, ServingError};
use crate::manifest::judge::{Judge, Question, QuestionLayout};
use crate::prompt::{EncodeOptions, Fit, Message, PromptError};
use crate::reward::{Head, Unscorable};

impl Scorer {
    /// The prompts of a judge's questions about a conversation.
    pub(super) fn encode_questions(
        &self,
        messages: &[Message],
        options: EncodeOptions<'_>,
        head: &Head,
        rubric: Option<Arc<Head>>,
    ) -> Result<Scorable, ServingError> {
        if options.continue_final_message {
            return Err(Unscorable::Continued.into());
        }
        let (layout, questions) = head
            .judge()
            .map_or((QuestionLayout::default(), &[][..]), |judge| (judge.layout, &judge.questions));
        let prompts = self.prompts(questions, Message::total_bytes(messages), |ask, whole| {
            self.encoder().encode_question(messages, (layout, ask), options.variables, whole)
        });
        Ok(Scorable::questions(prompts?, rubric))
    }

    /// The prompts of a judge's questions about a conversation that a client has rendered.
    pub(super) fn encode_follow_ups(&self, text: &str, judge: &Judge) -> Result<Scorable, ServingError> {
        if !self.is_templated(text) {
            return Err(Unscorable::NotAConversation.into());
        }
        let Some(follow_up) = self.follow_up().filter(|_| judge.layout == QuestionLayout::Append) else {
            return Err(Unscorable::Rendered.into());
        };
        let prompts = self.prompts(&judge.questions, text.len(), |ask, whole| {
            self.encoder().encode_follow_up(follow_up, text, ask, whole)
        });
        Ok(Scorable::questions(prompts?, None))
    }

    /// The prompts of `questions` about a conversation of `bytes` bytes, which `encode` makes.
    fn prompts(
        &self,
        questions: &[Question],
        bytes: usize,
        encode: impl Fn(&str, Fit) -> Result<Vec<u32>, PromptError>,
    ) -> Result<Vec<Arc<[u32]>>, ServingError> {
        let whole = self.fit(LengthPolicy::default());
        let mut prompts = Vec::with_capacity(questions.len());
        for (index, Question { ask, .. }) in questions.iter().enumerate() {
            prompts.push(fitting(encode(ask, whole), (index, ask.len() > bytes), whole.limit)?);
        }
        Ok(prompts)
    }

    /// A judge asks about conversations, by the chat template, and only conversations show where steps start that are
    /// encoded one by one.
    pub(super) fn check_takes_texts(&self) -> Result<(), Unscorable> {
        if self.head().judge().is_some() {
            Err(Unscorable::NotAConversation)
        } else if self.head().encodes_steps() {
            Err(Unscorable::StepsOfATurn)
        } else {
            Ok(())
        }
    }
}

/// The prompt of a question, if the engine takes as many tokens; `mostly_question` says which part is the longer one.
pub(super) fn fitting(
    tokens: Result<Vec<u32>, PromptError>,
    (question, mostly_question): (usize, bool),
    limit: usize,
) -> Result<Arc<[u32]>, ServingError> {
    let too_long = |tokens| ServingError::TooLongToAsk { question, mostly_question, tokens, limit };
    match tokens {
        Ok(tokens) if tokens.len() > limit => Err(too_long(tokens.len())),
        Ok(tokens) => Ok(tokens.into()),
        Err(PromptError::TooManyBytes { tokens, .. }) => Err(too_long(tokens)),
        Err(error) => Err(error.into()),
    }
}
