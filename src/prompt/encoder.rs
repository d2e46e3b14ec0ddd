//! The encoder: template, injection guard and tokenizer of one model together.

use std::borrow::Cow;
use std::path::Path;
use std::sync::{Arc, OnceLock};

use super::injection_guard::{Guard, Mark};
use super::template::Template;
use super::tokenizer::Tokens;
use super::vocabulary::Vocabulary;
use super::{EncodeOptions, Message, PromptError, ROLES};
use crate::manifest::{PromptSpec, TEMPLATE_FILE, TOKENIZER_FILE};

/// Makes token ids of conversations. Shared by all threads; a call changes nothing.
pub struct Encoder {
    template: Template,
    pub(super) tokens: Tokens,
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

    pub(super) fn begins_with_bos(&self, ids: &[u32]) -> bool {
        self.bos.is_some() && self.bos.as_ref() == ids.first()
    }

    /// Length of the suffix if `ids` end with it.
    pub(super) fn suffix_of(&self, ids: &[u32]) -> usize {
        if ids.ends_with(&self.suffix) { self.suffix.len() } else { 0 }
    }

    fn ids(&self, text: &str, marks: Option<&[Mark]>) -> Result<Vec<u32>, PromptError> {
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
