//! Principles: what a good response does, in words, for reward models that are trained with them.

use super::{Encoder, Message};

/// The role of the message that holds a principle.
const ROLE: &str = "principle";

impl Message {
    /// The message by which a conversation is scored.
    pub(crate) fn principle(text: impl Into<String>) -> Self {
        Self::new(ROLE, text)
    }
}

impl Encoder {
    /// Whether the chat template has a place for a principle.
    pub(crate) fn takes_principles(&self) -> bool {
        self.template_source().contains(ROLE)
    }
}
