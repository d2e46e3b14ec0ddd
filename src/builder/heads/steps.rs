//! The tokens at which the steps of a conversation end.

use super::{StepToken, Steps, token_id};
use crate::builder::BuildError;
use crate::builder::config::Config;
use crate::manifest::{Pooling, SeparateSteps};
use crate::prompt::{Encoder, PromptError};

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
                if !is_separate_token(text, id, encoder) {
                    let reason = format!(
                        "the model is read at the end of each step, and the tokenizer joins {text:?}, which ends one, \
                         with the text before it or writes it elsewhere, too; name the step's end that the model was \
                         trained with, a token of its own, as `step_token` in --head FILE"
                    );
                    return Err(config.object.error("architectures", &reason));
                }
                Ok(Pooling::EachStep { token: text.clone(), id, value })
            }
            StepToken::Encoded(steps) => {
                Ok(Pooling::EachEncodedStep { separator: steps.separator.clone(), value })
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

/// Prompt and steps as TRL's PRMTrainer encodes them: the prompt's text after a BOS token, if the tokenizer has one.
/// Earlier turns are joined by line breaks, since trainers say nothing about them.
pub(super) const PLAIN_PROMPT: &str = "{{- bos_token }}{%- for message in messages %}{{- '' if loop.first else '\\n' }}\
                                       {{- message.content }}{%- endfor %}";
/// The same as Skywork-o1-Open-PRM's published code writes it, with a line break after the prompt.
pub(super) const PROMPT_LINE: &str = "{{- bos_token }}{%- for message in messages %}{{- '' if loop.first else '\\n' }}\
                                      {{- message.content }}{%- endfor %}{{- '\\n' }}";

impl StepToken {
    /// Steps that are encoded one by one, each followed by the ids of `separator`.
    ///
    /// # Errors
    /// The tokenizer cannot encode it.
    pub(super) fn encoded(separator: &str, encoder: &Encoder) -> Result<Self, PromptError> {
        let ids = encoder.encode_text(separator)?;
        Ok(Self::Encoded(SeparateSteps { separator: separator.to_owned(), ids }))
    }
}

/// Whether a text is one token wherever a step ends with it, and only there.
fn is_separate_token(text: &str, id: u32, encoder: &Encoder) -> bool {
    if text.trim().is_empty() {
        return false;
    }
    // After a space, if the token includes one.
    [text.to_owned(), format!(" {text}")].iter().any(|text| {
        ["a", "5.", "x)", "so,"].iter().all(|end| {
            let ids = encoder.encode_text(&format!("{end}{text}")).unwrap_or_default();
            ids.last() == Some(&id)
        })
    })
}
