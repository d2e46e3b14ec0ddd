//! Warns of rows that may have the chat template applied already.

use std::sync::atomic::{AtomicBool, Ordering};

use crate::cli::output::eprint_line;
use crate::prompt::{Encoder, Message};

/// Says once that texts spell control tokens, which are scored as plain text.
#[derive(Default)]
pub(super) struct TokenWarning {
    is_given: AtomicBool,
}

impl TokenWarning {
    /// Warns if one of the conversations spells a control token, unless that has been said before.
    pub(super) fn check(&self, encoder: &Encoder, conversations: &[Vec<Message>]) {
        // Looking at every text costs more than this.
        if self.is_given.load(Ordering::Relaxed) {
            return;
        }
        if let Some(token) = spelled(encoder, conversations)
            && !self.is_given.swap(true, Ordering::Relaxed)
        {
            eprint_line(format_args!(
                "warning: a text spells {token:?}, a control token of this model, and is scored as plain text; if the chat \
                 template is applied to the rows already, score the conversations that they were made from"
            ));
        }
    }
}

/// A control token that a message spells.
fn spelled<'e>(encoder: &'e Encoder, conversations: &[Vec<Message>]) -> Option<&'e str> {
    conversations.iter().flatten().find_map(|message| encoder.control_token_in(&message.content))
}
