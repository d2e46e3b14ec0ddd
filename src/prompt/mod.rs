//! A conversation becomes token ids: template, tokens.
//!
//! The ids are those of transformers' `apply_chat_template`, with one difference: text of the
//! conversation never becomes a control token. Where a turn spells one, `guard` marks the place
//! before the template is rendered, and `tokens` encodes what is marked as ordinary text. The one
//! exception is the step token of a process reward model, which the assistant's turns may spell.

mod guard;
mod python;
mod template;
#[cfg(test)]
mod tests;
mod tokens;
mod truncate;
mod vocabulary;
mod words;

use std::borrow::Cow;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use crate::manifest::{PromptSpec, TEMPLATE_FILE, TOKENIZER_FILE};
use guard::Guard;
use template::Template;
use tokens::Tokens;
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

/// Makes token ids of conversations. Shared by all threads; a call changes nothing.
pub struct Encoder {
    template: Template,
    tokens: Tokens,
    guard: Guard,
    suffix: Vec<u32>,
    generation_prompt: bool,
    /// The token that begins every conversation, if one does.
    bos: Option<u32>,
    /// Made when it is first asked for.
    vocabulary: OnceLock<Arc<Vocabulary>>,
}

impl Encoder {
    /// Loads the tokenizer and the chat template of an engine directory.
    ///
    /// # Errors
    /// A file is missing or cannot be used.
    pub fn open(directory: &Path, spec: &PromptSpec) -> Result<Self, PromptError> {
        let tokenizer_path = directory.join(TOKENIZER_FILE);
        let template_path = directory.join(TEMPLATE_FILE);
        let tokenizer = read(&tokenizer_path)?;
        let source = read(&template_path)?;
        Self::new(&tokenizer, &source, spec).map_err(|(file, reason)| {
            let path = if file == TOKENIZER_FILE { tokenizer_path } else { template_path };
            PromptError::Invalid { path, reason }
        })
    }

    /// As [`Encoder::open`], from the text of both files. An error says which file is at fault.
    pub(crate) fn new(
        tokenizer: &str,
        template: &str,
        spec: &PromptSpec,
    ) -> Result<Self, (&'static str, String)> {
        let named = spec.special_tokens.values().chain(&spec.step_token).map(String::as_str);
        let tokens = Tokens::new(tokenizer, template, named).map_err(|reason| (TOKENIZER_FILE, reason))?;
        let guard = Guard::new(&tokens.control_tokens(), template, spec.step_token.as_deref())
            .map_err(|reason| (TOKENIZER_FILE, reason))?;
        let template = Template::new(template, spec).map_err(|reason| (TEMPLATE_FILE, reason))?;
        let mut encoder = Self {
            template,
            tokens,
            guard,
            suffix: spec.suffix.clone(),
            generation_prompt: spec.generation_prompt,
            bos: None,
            vocabulary: OnceLock::new(),
        };
        let bos = spec.special_tokens.get("bos_token").and_then(|token| encoder.token_id(token));
        encoder.bos = bos.filter(|bos| encoder.writes_first(*bos));
        Ok(encoder)
    }

    /// Whether conversations begin with a token.
    fn writes_first(&self, token: u32) -> bool {
        let message = |role: &str| Message { role: role.into(), content: "a".into() };
        let conversation = [message("user"), message("assistant")];
        // Some templates want the assistant's turn, some refuse it.
        let tried = [&conversation[..], &conversation[..1]];
        let ids = tried.iter().find_map(|turns| self.encode(turns, EncodeOptions::default()).ok());
        ids.is_some_and(|ids| ids.first() == Some(&token))
    }

    /// Token ids of a conversation, at least one. Control tokens in it are the template's own.
    ///
    /// # Errors
    /// The conversation is empty or has an unknown role, or the template refuses it.
    pub fn encode(&self, messages: &[Message], options: EncodeOptions) -> Result<Vec<u32>, PromptError> {
        let add_generation_prompt = options.add_generation_prompt || self.generation_prompt;
        let mut ids = self.encode_rendered(messages, EncodeOptions { add_generation_prompt })?;
        ids.extend_from_slice(&self.suffix);
        Ok(ids)
    }

    fn encode_rendered(&self, messages: &[Message], options: EncodeOptions) -> Result<Vec<u32>, PromptError> {
        let plain = self.render(messages, options)?;
        if self.guard.harmless(messages) {
            return self.ids(&plain, Some(&[]));
        }
        let guarded = |stand_ins| {
            let guarded = self.guard.mark(messages, stand_ins)?;
            let rendered = self.template.render(&guarded.turns, &guarded.marks, options)?;
            Ok(guarded.unmark(&rendered))
        };
        let (mut text, mut marks) = guarded(true)?;
        if text != plain {
            (text, marks) = guarded(false)?;
        }
        self.ids(&text, Some(&marks))
    }

    /// The text of a conversation's prompt, as the template renders it.
    ///
    /// # Errors
    /// As [`Encoder::encode`].
    pub fn render(&self, messages: &[Message], options: EncodeOptions) -> Result<String, PromptError> {
        check_roles(messages)?;
        let turns: Vec<_> = (messages.iter())
            .map(|message| (message.role.as_str(), Cow::Borrowed(message.content.as_str())))
            .collect();
        self.template.render(&turns, "", options)
    }

    /// Token ids of a text that was templated already: control tokens spelled in it are honoured,
    /// and none is added.
    ///
    /// # Errors
    /// The text is empty.
    pub fn encode_text(&self, text: &str) -> Result<Vec<u32>, PromptError> {
        self.ids(text, None)
    }

    /// Token ids of a text to be completed: behind what the tokenizer puts before a text, unless
    /// that is there, control tokens spelled in it honoured.
    ///
    /// # Errors
    /// There is no token.
    pub fn encode_completion(&self, text: &str, add_special_tokens: bool) -> Result<Vec<u32>, PromptError> {
        let mut ids = self.tokens.encode(text, None).map_err(PromptError::Unencodable)?;
        let prefix = self.tokens.prefix();
        if add_special_tokens && !ids.starts_with(prefix) {
            ids.splice(..0, prefix.iter().copied());
        }
        if ids.is_empty() { Err(PromptError::Empty) } else { Ok(ids) }
    }

    /// What tokens stand for.
    pub fn vocabulary(&self) -> Arc<Vocabulary> {
        self.vocabulary.get_or_init(|| Arc::new(self.tokens.vocabulary())).clone()
    }

    /// The id of a token that stands apart from the vocabulary.
    pub(crate) fn token_id(&self, token: &str) -> Option<u32> {
        self.tokens.added(token)
    }

    /// As [`Encoder::encode_text`], with what every conversation of the model begins and ends with
    /// where the text lacks it: clients leave out the first token, or the last, for servers that add
    /// them. A text that the template rendered gets the ids of its conversation.
    ///
    /// # Errors
    /// The text is empty.
    pub fn encode_templated(&self, text: &str) -> Result<Vec<u32>, PromptError> {
        let mut ids = self.encode_text(text)?;
        if let Some(bos) = self.bos.filter(|bos| ids.first() != Some(bos)) {
            ids.insert(0, bos);
        }
        if self.suffix_of(&ids) == 0 {
            ids.extend_from_slice(&self.suffix);
        }
        Ok(ids)
    }

    /// Whether a text holds a control token, as one does that was templated already.
    pub fn is_templated(&self, text: &str) -> bool {
        self.tokens.control_tokens().iter().any(|token| text.contains(token))
    }

    fn begins_with_bos(&self, ids: &[u32]) -> bool {
        self.bos.is_some() && self.bos.as_ref() == ids.first()
    }

    /// Length of the suffix if `ids` end with it.
    fn suffix_of(&self, ids: &[u32]) -> usize {
        if ids.ends_with(&self.suffix) { self.suffix.len() } else { 0 }
    }

    fn ids(&self, text: &str, marks: Option<&[guard::Mark]>) -> Result<Vec<u32>, PromptError> {
        let ids = self.tokens.encode(text, marks).map_err(PromptError::Unencodable)?;
        if ids.is_empty() { Err(PromptError::Empty) } else { Ok(ids) }
    }
}

fn read(path: &Path) -> Result<String, PromptError> {
    std::fs::read_to_string(path).map_err(|source| PromptError::Unreadable { path: path.to_owned(), source })
}

fn check_roles(messages: &[Message]) -> Result<(), PromptError> {
    if messages.is_empty() {
        return Err(PromptError::NoMessages);
    }
    match messages.iter().position(|message| !ROLES.contains(&message.role.as_str())) {
        None => Ok(()),
        Some(index) => Err(PromptError::UnknownRole { index, role: messages[index].role.clone() }),
    }
}
