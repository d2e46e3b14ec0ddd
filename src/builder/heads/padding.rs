//! Padding tokens that the end of a conversation may be.

use serde_json::Value;

use super::{CheckpointHead, Context};
use crate::builder::json::Object;
use crate::prompt::{EncodeOptions, Message};

/// The padding token of a classifier's configuration. transformers' classifiers are read at the last token that is
/// not this one, since version 4.49; without one, at the last token.
pub(super) fn token(context: &Context<'_>) -> Option<u32> {
    let pad = u32::try_from(given(context)?.as_u64()?).ok()?;
    ((pad as usize) < context.config.model.vocab_size).then_some(pad)
}

/// What the configuration says that the padding token is.
fn given(context: &Context<'_>) -> Option<Value> {
    let object = &context.config.object;
    let text = object.nested("text_config").ok();
    let id = |object: &Object| object.optional::<Value>("pad_token_id").ok().flatten();
    id(object).or_else(|| text.as_ref().and_then(id))
}

/// Says where a classifier is read whose configuration names a padding token that the model does not have.
pub(super) fn explain_unusable(context: &Context<'_>, head: &mut CheckpointHead) {
    if let Some(given) = given(context).filter(|_| token(context).is_none()) {
        head.notes.push(format!(
            "pad_token_id is {given}, which no token of the model has: none counts as padding, and the score is read at \
             the very last token"
        ));
    }
}

/// Says where the head is read if conversations end with the padding token, so that it matters.
pub(super) fn explain(context: &Context<'_>, head: &mut CheckpointHead) {
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
