//! A conversation becomes token ids: template, tokens.
//!
//! The ids are those of transformers' `apply_chat_template`, with one difference: text of the
//! conversation never becomes a control token. Where a turn spells one, `guard` marks the place
//! before the template is rendered, and `tokens` encodes what is marked as ordinary text. The one
//! exception is the step token of a process reward model, which the assistant's turns may spell.

mod byte_level;
mod encoder;
mod injection_guard;
mod python;
mod template;
#[cfg(test)]
mod tests;
mod tokenizer;
mod truncate;
mod vocabulary;

use std::path::PathBuf;

pub use encoder::Encoder;
pub use truncate::{Fit, Prompt, Truncated, Truncation};
pub use vocabulary::Vocabulary;

/// Roles that a turn may have. Which of them a model knows, and in which order, its template says.
pub const ROLES: [&str; 5] = ["system", "developer", "user", "assistant", "tool"];

/// One turn of a conversation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// One of [`ROLES`].
    pub role: String,
    /// What was said. May be empty.
    pub content: String,
}

/// How a conversation is encoded.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct EncodeOptions {
    /// Whether the beginning of an answer follows the last turn. A reward model wants none.
    pub add_generation_prompt: bool,
}

/// Why there is no prompt.
#[derive(Debug, thiserror::Error)]
pub enum PromptError {
    /// A file of the engine cannot be read.
    #[error("{path} cannot be read ({source}); copy the engine directory again or build it again")]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// A file of the engine is not what it should be.
    #[error("{path} cannot be used: {reason}; mend the checkpoint and build the engine again")]
    Invalid {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// A conversation without turns.
    #[error("`messages` is empty; send at least one message")]
    NoMessages,
    /// A turn whose role is none of [`ROLES`].
    #[error("`messages[{index}].role` is `{role}`; use one of {}", ROLES.join(", "))]
    UnknownRole {
        /// Which turn.
        index: usize,
        /// Its role.
        role: String,
    },
    /// The template refuses the conversation, in its own words.
    #[error("the model's chat template refuses `messages`: {0}")]
    Refused(String),
    /// The template cannot render the conversation.
    #[error("the model's chat template cannot render `messages`: {0}")]
    Unrenderable(String),
    /// The template renders nothing, so there is nothing to compute.
    #[error(
        "the model's chat template makes an empty prompt of `messages`; send at least one message that it renders"
    )]
    Empty,
    /// The conversation is too long even without the turns that may be dropped.
    #[error(
        "`messages` has {tokens} tokens even without its older turns, and the engine takes at most {limit}; \
         shorten the last prompt or the response, or ask for the truncation `left`"
    )]
    TooLong {
        /// Tokens of what must stay.
        tokens: usize,
        /// The engine's limit.
        limit: usize,
    },
    /// The tokenizer cannot encode the text.
    #[error("`messages` cannot be encoded: {0}")]
    Unencodable(String),
}
