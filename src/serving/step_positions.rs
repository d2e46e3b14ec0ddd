//! Where the steps of a text end, and whether the last one does.

use std::sync::Arc;

use super::{Scorable, Scorer};
use crate::reward::Unscorable;

impl Scorer {
    /// Checks that the last step in a text ends with its token: none but control tokens and white space follow, up to
    /// the end of its turn.
    pub(super) fn check_last_step(&self, tokens: &[u32]) -> Result<(), Unscorable> {
        let Some(token) = self.head().step_token() else { return Ok(()) };
        // A text without any step is refused when it is submitted.
        let Some(&last) = self.head().positions(tokens).ok().as_deref().and_then(<[usize]>::last) else {
            return Ok(());
        };
        if self.encoder().text_to_control_token(&tokens[last + 1..]).trim().is_empty() {
            return Ok(());
        }
        Err(Unscorable::OpenStep { token: token.to_owned() })
    }

    /// The positions at which a prompt of a text is read.
    pub(super) fn positions(&self, text: &Scorable, tokens: &[u32]) -> Result<Arc<[usize]>, Unscorable> {
        match text.step_ends() {
            Some(ends) if ends.is_empty() => {
                let token = self.head().step_token().unwrap_or_default().to_owned();
                Err(Unscorable::NoStep { token })
            }
            Some(ends) => Ok(ends.clone()),
            None => self.head_of(text).positions(tokens),
        }
    }
}
