//! The prompts of a judge's questions.

use std::sync::Arc;

use super::{LengthPolicy, Scorable, Scorer, ServingError};
use crate::manifest::judge::{Judge, Layout};
use crate::prompt::{EncodeOptions, Message};
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
        let (layout, questions) =
            head.judge().map_or((Layout::default(), &[][..]), |judge| (judge.layout, &judge.questions));
        let whole = self.fit(LengthPolicy::default());
        let mut prompts = Vec::with_capacity(questions.len());
        for question in questions {
            let put = (layout, question.ask.as_str());
            prompts.push(self.encoder().encode_question(messages, put, options.variables, whole)?.into());
        }
        Ok(Scorable::questions(prompts, rubric))
    }

    /// The prompts of a judge's questions about a conversation that a client has rendered.
    pub(super) fn encode_follow_ups(&self, text: &str, judge: &Judge) -> Result<Scorable, ServingError> {
        if !self.is_templated(text) {
            return Err(Unscorable::NotAConversation.into());
        }
        let Some(follow_up) = self.follow_up().filter(|_| judge.layout == Layout::Append) else {
            return Err(Unscorable::Rendered.into());
        };
        let whole = self.fit(LengthPolicy::default());
        let mut prompts = Vec::with_capacity(judge.questions.len());
        for question in &judge.questions {
            let tokens = self.encoder().encode_follow_up(follow_up, text, &question.ask, whole)?;
            prompts.push(tokens.into());
        }
        Ok(Scorable::questions(prompts, None))
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
