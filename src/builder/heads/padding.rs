//! Padding tokens that the end of a conversation may be.

use super::{Context, Head};
use crate::prompt::{EncodeOptions, Message};

/// The padding token of a classifier's configuration. transformers' classifiers are read at the last token that is
/// not this one, since version 4.49; without one, at the last token.
pub(super) fn token(context: &Context<'_>) -> Option<u32> {
    let object = &context.config.object;
    let text = object.nested("text_config").ok();
    let id = |object: &crate::builder::json::Object| object.optional::<u32>("pad_token_id").ok().flatten();
    let pad = id(object).or_else(|| text.as_ref().and_then(id))?;
    ((pad as usize) < context.config.model.vocab_size).then_some(pad)
}

/// Says where the head is read if conversations end with the padding token, so that it matters.
pub(super) fn explain(context: &Context<'_>, head: &mut Head) {
    let Some(pad) = token(context).filter(|_| head.steps.is_none() && head.suffix.is_empty()) else { return };
    if context.config.model.variant.bidirectional.is_some() {
        return;
    }
    let turn = |role: &str| Message::new(role, "a");
    let ids = context.encoder.encode(&[turn("user"), turn("assistant")], EncodeOptions::default());
    if ids.ok().and_then(|ids| ids.last().copied()) != Some(pad) {
        return;
    }
    head.notes.push(if head.pad.is_some() {
        format!(
            "conversations end with the padding token {pad}; as in transformers, the score is read at the last token \
             before it (`read: last_token` in the file that --head names reads the very last)"
        )
    } else {
        format!(
            "conversations end with the padding token {pad}, at which the score is read (`read: last_non_pad` in the file \
             that --head names reads the last token before it)"
        )
    });
}
