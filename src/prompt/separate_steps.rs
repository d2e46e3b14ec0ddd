//! Steps that are encoded one by one, as their models were trained on them.
//!
//! The chat template renders what precedes the steps. Each step is then encoded as a text of its own, and followed by the
//! separator's ids, so no token has parts of both.

use super::{EncodeOptions, Encoder, Message, Prompt, PromptError};
use crate::manifest::SeparateSteps;

impl Encoder {
    /// Token ids of a conversation whose last turn is made of steps, and where each step ends. A separator after the last
    /// step is not needed, and starts no further step.
    pub(super) fn encode_steps(
        &self,
        steps: &SeparateSteps,
        messages: &[Message],
        options: EncodeOptions<'_>,
    ) -> Result<Prompt, PromptError> {
        let SeparateSteps { separator, ids: end } = steps;
        let missing = || PromptError::NoSteps { separator: separator.clone() };
        let (last, asked) = messages.split_last().ok_or(PromptError::NoMessages)?;
        if last.role != "assistant" || last.content.is_empty() || asked.is_empty() {
            return Err(missing());
        }
        if options.continue_final_message {
            return Err(PromptError::NotContinued);
        }
        let add_generation_prompt = options.add_generation_prompt || self.generation_prompt;
        let mut tokens = self.encode_rendered(asked, EncodeOptions { add_generation_prompt, ..options })?;
        let mut ends = Vec::new();
        let text = last.content.strip_suffix(separator.as_str()).unwrap_or(&last.content);
        for step in text.split(separator.as_str()) {
            tokens.extend(self.ids_of_turn(step, true)?);
            tokens.extend_from_slice(end);
            ends.push(tokens.len() - 1);
        }
        Ok(Prompt { step_ends: Some(ends), ..tokens.into() })
    }
}
