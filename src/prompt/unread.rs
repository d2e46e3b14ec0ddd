//! Warns of what a chat template never reads, once for each name.

use std::collections::HashSet;
use std::sync::{Mutex, PoisonError};

use super::template::Template;
use super::{Message, TemplateVariables};

/// Maximum number of names of fields, or of variables, that are looked for in a template.
const MAX_SEEN: usize = 100;

/// The names that were looked for in a template.
#[derive(Default)]
pub(super) struct UnreadWarnings {
    fields: Mutex<HashSet<String>>,
    variables: Mutex<HashSet<String>>,
    is_off: bool,
}

impl UnreadWarnings {
    /// Warns of nothing.
    pub(super) fn off() -> Self {
        Self { is_off: true, ..Self::default() }
    }

    /// Logs which fields of messages and which variables the template never reads.
    pub(super) fn check(&self, template: &Template, messages: &[Message], variables: &TemplateVariables) {
        if self.is_off {
            return;
        }
        for name in messages.iter().flat_map(|message| message.more.fields.keys()) {
            if is_new(&self.fields, name) && !template.reads_key(name) {
                tracing::warn!(field = name, "the chat template never reads this field of a message");
            }
        }
        for name in variables.names() {
            if is_new(&self.variables, name) && !template.reads(name) {
                tracing::warn!(variable = name, "the chat template never reads this variable");
            }
        }
    }
}

/// Whether a name is new. The set is bounded, because clients may send any number of names.
fn is_new(seen: &Mutex<HashSet<String>>, name: &str) -> bool {
    let mut seen = seen.lock().unwrap_or_else(PoisonError::into_inner);
    seen.len() < MAX_SEEN && !seen.contains(name) && seen.insert(name.to_owned())
}
