//! Where the steps of a conversation end, as the tokenizer spells it.

use super::{StepToken, Steps, token_id};
use crate::builder::BuildError;
use crate::builder::config::Config;
use crate::manifest::Pooling;
use crate::prompt::Encoder;

impl Steps {
    /// Where the manifest says that they are read.
    ///
    /// # Errors
    /// The tokenizer lacks the control token, or makes several tokens of the text.
    pub(super) fn pooling(&self, config: &Config, encoder: &Encoder) -> Result<Pooling, BuildError> {
        let value = self.value;
        let encode = |text: &str| {
            encoder
                .encode_text(text)
                .map_err(|error| config.object.error("architectures", &error.to_string()))
        };
        match &self.token {
            StepToken::Control(token) => {
                Ok(Pooling::EachStep { token: token.clone(), id: token_id(config, encoder, token)?, value })
            }
            StepToken::Text(text) => {
                // A tokenizer may put a token for a space before the text.
                let id = encoder.token_id(text).or(encode(text)?.last().copied()).unwrap_or(0);
                Ok(Pooling::EachStep { token: text.clone(), id, value })
            }
            StepToken::Turn => {
                let pattern = encoder.turn_start().ok_or_else(|| {
                    let reason = "the chat template does not show where an assistant's turn starts";
                    config.object.error("architectures", reason)
                })?;
                Ok(Pooling::EachTurn { pattern })
            }
        }
    }
}
