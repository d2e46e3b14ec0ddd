//! Turns conversations into token ids: chat template, injection guard, tokenizer.
//!
//! The ids equal those of transformers' `apply_chat_template`, with one difference: text of the
//! conversation never becomes a control token, one that structures conversations (`control_tokens` says which
//! do). Where a turn spells one, `injection_guard` marks the place before the template is rendered, and
//! `tokenizer` encodes what is marked as ordinary text. The one exception is the step token of a process reward
//! model, which assistant turns may spell.
//!
//! # Example
//!
//! An engine directory holds a tokenizer and a chat template:
//!
//! ```
//! use assay::manifest::PromptSpec;
//! use assay::prompt::{EncodeOptions, Encoder, Message};
//!
//! let engine = tempfile::tempdir()?;
//! let tokenizer = r#"{
//!     "version": "1.0", "normalizer": null, "pre_tokenizer": {"type": "WhitespaceSplit"},
//!     "post_processor": null, "decoder": null, "truncation": null, "padding": null,
//!     "added_tokens": [{"id": 0, "content": "<turn>", "special": true, "single_word": false,
//!         "lstrip": false, "rstrip": false, "normalized": false}],
//!     "model": {"type": "WordLevel", "vocab": {"<turn>": 0, "?": 1, "2": 2, "+": 3, "5": 4}, "unk_token": "?"}
//! }"#;
//! std::fs::write(engine.path().join("tokenizer.json"), tokenizer)?;
//! let template = "{% for message in messages %}<turn> {{ message.content }} {% endfor %}";
//! std::fs::write(engine.path().join("chat_template.jinja"), template)?;
//!
//! let encoder = Encoder::open(engine.path(), &PromptSpec::default())?;
//! let conversation = [
//!     Message::new("user", "2 + 2"),
//!     Message::new("assistant", "5 <turn>"),
//! ];
//! let ids = encoder.encode(&conversation, EncodeOptions::default())?;
//! // The template's `<turn>` is the control token 0. The one in the answer is ordinary text: here,
//! // two words that the vocabulary does not know, 1.
//! assert_eq!(ids, [0, 2, 3, 2, 0, 4, 1, 1]);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod added_tokens;
mod ask;
mod backtracking;
mod byte_level;
mod cancel;
mod charsmap;
mod compare;
mod control_tokens;
mod encoder;
mod follow_up;
mod injection_guard;
mod jinja;
mod message;
mod normalization;
mod pair;
mod piece_cache;
mod principle;
mod quotation;
mod segments;
mod separate_steps;
mod size_bound;
mod strftime;
mod template;
#[cfg(test)]
mod tests;
mod tokenizer;
mod tokenizer_error;
mod tokenizer_file;
mod tokenizer_model;
mod truncate;
mod unread;
mod variables;
mod vocabulary;
mod word_starts;

use std::path::PathBuf;

pub use ask::AnswerTokens;
pub(crate) use cancel::{cancellable, is_cancelled};
pub(crate) use compare::which_is_better;
pub use control_tokens::ControlPolicy;
pub(crate) use control_tokens::control_tokens;
pub use encoder::Encoder;
pub use follow_up::FollowUp;
pub use message::{Message, MessageFields};
pub(crate) use pair::PairFrame;
pub(crate) use template::DateUse;
pub(crate) use tokenizer_file::parse as parse_tokenizer;
pub use truncate::{Fit, Prompt, Truncated, Truncation};
pub use variables::{TemplateVariables, VariableError};
pub use vocabulary::Vocabulary;

/// How a conversation is encoded.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct EncodeOptions<'v> {
    /// Whether to append the tokens that start a response. Reward models do not need them.
    pub add_generation_prompt: bool,
    /// Whether the prompt ends with the text of the last message, without what the template writes after it.
    pub continue_final_message: bool,
    /// Variables for the chat template, if a request has some.
    pub variables: Option<&'v TemplateVariables>,
}

/// Why an engine directory has no encoder.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "the messages name the fields")]
pub enum EncoderFileError {
    /// A file of the engine cannot be read.
    #[error("cannot read {path}: {source}; copy the engine directory again or build it again")]
    Unreadable {
        path: PathBuf,
        /// What the system reported.
        source: std::io::Error,
    },
    /// A file of the engine is not what it should be.
    #[error("{path} cannot be used: {reason}; fix the checkpoint and build the engine again")]
    Invalid {
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
}

/// Why a conversation or text has no prompt. Which field of a request it came from is the caller's to say.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "the messages name the fields")]
pub enum PromptError {
    /// The conversation has no messages.
    #[error("the conversation is empty; send at least one message")]
    NoMessages,
    /// The chat template refuses the conversation; the text is its own.
    #[error("the model's chat template refuses the conversation: {0}")]
    Refused(String),
    /// The chat template cannot render the conversation.
    #[error("the model's chat template cannot render the conversation: {0}")]
    Unrenderable(String),
    /// There are no tokens.
    #[error("the prompt is empty; send text, or a message that the model's chat template renders")]
    Empty,
    /// The conversation does not end with the steps that the model scores.
    #[error(
        "the model scores the steps of a response; send a user's turn and then an assistant's turn with the steps, each on \
         its own or with {separator:?} between two"
    )]
    NoSteps { separator: String },
    /// The last message cannot be continued.
    #[error(
        "the model's chat template does not write the text of the last message as it is, so it cannot be continued; \
         leave out `continue_final_message`"
    )]
    NotContinued,
    /// The conversation is too long even without the turns that may be dropped.
    #[error(
        "the conversation has {tokens} tokens even without its older turns, and this model's maximum context \
         length is {limit} tokens; shorten the last prompt or the response"
    )]
    TooLong {
        /// Tokens of what must stay.
        tokens: usize,
        limit: usize,
    },
    /// The tokenizer has a token that the model does not have.
    #[error(
        "the text contains the token `{token}` with id {id}, but the model's embedding has only {rows} rows; \
         remove it from the text"
    )]
    NoEmbedding {
        token: String,
        id: u32,
        /// Rows of the embedding.
        rows: u32,
    },
    /// The text has too many bytes to fit, however it is encoded.
    #[error(
        "the text has {bytes} bytes, which are at least {tokens} tokens, and this model's maximum context length is \
         {limit} tokens"
    )]
    TooManyBytes {
        bytes: usize,
        /// The fewest tokens that they can be.
        tokens: usize,
        limit: usize,
    },
    /// The tokenizer cannot encode the text.
    #[error("the text cannot be encoded: {0}")]
    Unencodable(String),
}
