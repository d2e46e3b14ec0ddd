//! The chat template of an encoder whose checkpoint has none: the prompt and its response as the two texts of a pair.

use std::path::Path;

use super::BuildError;
use crate::manifest::TOKENIZER_FILE;
use crate::prompt::{EncodeOptions, Encoder, Message, PairFrame};

/// Writes the template for a tokenizer with this frame. What follows the last text is not part of it.
///
/// Turns before the response are the first text, joined by line breaks: the cards of reward models that are encoders
/// say nothing about conversations of several turns. With an empty response the prompt is a text by itself, as
/// transformers' tokenizers take an empty second text.
pub(super) fn write(frame: &PairFrame, token: impl Fn(u32) -> Option<String>) -> Option<String> {
    let spelled = |ids: &[u32]| -> Option<String> {
        let texts: Option<Vec<String>> = ids.iter().map(|&id| token(id)).collect();
        serde_json::to_string(&texts?.concat()).ok()
    };
    let (before, between) = (spelled(&frame.before)?, spelled(&frame.between)?);
    Some(format!(
        "{{{{- {before} }}}}\n\
         {{%- set answered = messages | length > 1 and messages[-1].role == 'assistant' %}}\n\
         {{%- for message in (messages[:-1] if answered else messages) %}}\n\
         {{{{- '' if loop.first else '\\n' }}}}{{{{- message.content }}}}\n\
         {{%- endfor %}}\n\
         {{%- if answered and messages[-1].content %}}{{{{- {between} }}}}{{{{- messages[-1].content }}}}{{%- endif %}}"
    ))
}

/// Checks that a prompt made by the template has the ids that the tokenizer itself gives for the pair.
///
/// # Errors
/// It has others.
pub(super) fn check(
    tokenizer: &str,
    encoder: &Encoder,
    frame: &PairFrame,
    checkpoint: &Path,
) -> Result<(), BuildError> {
    const TEXTS: [&str; 2] = ["Is it so? Yes.", "It is so, and 2 more."];
    let wrong = |reason: String| BuildError::checkpoint(checkpoint.join(TOKENIZER_FILE), reason);
    let expected =
        PairFrame::reference(tokenizer, TEXTS[0], TEXTS[1]).map_err(|error| wrong(error.to_string()))?;
    let pair = [Message::new("user", TEXTS[0]), Message::new("assistant", TEXTS[1])];
    let mut ids =
        encoder.encode(&pair, EncodeOptions::default()).map_err(|error| wrong(error.to_string()))?;
    ids.extend_from_slice(&frame.after);
    if ids == expected {
        return Ok(());
    }
    Err(wrong(
        "it encodes a text differently after a control token, so that a pair of texts cannot be written as one; \
         set `prepend_scheme` of its pre-tokenizer to `always`"
            .to_owned(),
    ))
}
