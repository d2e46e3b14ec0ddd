//! The encoder: template, injection guard and tokenizer of one model together.

use std::borrow::Cow;
use std::io;
use std::path::Path;
use std::sync::{Arc, OnceLock};

use super::injection_guard::{InjectionGuard, Mark};
use super::jinja::SyntaxError;
use super::template::{Template, normalize_line_ends};
use super::tokenizer::PromptTokenizer;
use super::tokenizer_error::TokenizerError;
use super::unread::UnreadWarnings;
use super::vocabulary::Vocabulary;
use super::{EncodeOptions, EncoderFileError, Message, Prompt, PromptError, TemplateVariables};
use crate::manifest::{EngineFiles, PromptSpec, SeparateSteps, TEMPLATE_FILE, TOKENIZER_FILE};

/// Turns conversations into token ids. Encoding does not change it, so all threads share one.
pub struct Encoder {
    template: Template,
    pub(super) tokenizer: PromptTokenizer,
    guard: InjectionGuard,
    suffix: Vec<u32>,
    pub(super) generation_prompt: bool,
    /// How steps are encoded, if it is one by one.
    steps: Option<SeparateSteps>,
    /// The token that starts every conversation, if one does.
    bos: Option<u32>,
    /// Rows of the model's embedding, if the tokenizer has ids beyond them.
    rows: Option<u32>,
    /// Built on first use.
    vocabulary: OnceLock<Arc<Vocabulary>>,
    /// Variables that the template has unless a request sets them.
    variables: TemplateVariables,
    unread: UnreadWarnings,
}

/// Why a tokenizer and a template make no encoder.
#[derive(Debug, thiserror::Error)]
pub(crate) enum EncoderError {
    #[error(transparent)]
    Tokenizer(#[from] TokenizerError),
    #[error(transparent)]
    Template(#[from] SyntaxError),
}

impl EncoderError {
    /// Name of the file at fault in an engine directory.
    pub(crate) fn file(&self) -> &'static str {
        match self {
            Self::Tokenizer(_) => TOKENIZER_FILE,
            Self::Template(_) => TEMPLATE_FILE,
        }
    }
}

impl Encoder {
    /// Loads the tokenizer and the chat template of an engine directory.
    ///
    /// # Errors
    /// A file cannot be read or used.
    pub fn open(directory: &Path, spec: &PromptSpec) -> Result<Self, EncoderFileError> {
        let tokenizer = read(&directory.join(TOKENIZER_FILE))?;
        let template = read(&directory.join(TEMPLATE_FILE))?;
        Self::from_texts(directory, &tokenizer, &template, spec)
    }

    /// Like [`Encoder::open`], from files in memory.
    ///
    /// # Errors
    /// A file is missing or cannot be used.
    pub fn from_files(files: &EngineFiles, spec: &PromptSpec) -> Result<Self, EncoderFileError> {
        let (tokenizer, template) = (text(files, TOKENIZER_FILE)?, text(files, TEMPLATE_FILE)?);
        Self::from_texts(files.directory(), tokenizer, template, spec)
    }

    fn from_texts(
        directory: &Path,
        tokenizer: &str,
        template: &str,
        spec: &PromptSpec,
    ) -> Result<Self, EncoderFileError> {
        Self::new(tokenizer, template, spec).map_err(|error| EncoderFileError::Invalid {
            path: directory.join(error.file()),
            reason: error.to_string(),
        })
    }

    /// Like [`Encoder::open`], from the text of both files.
    pub(crate) fn new(tokenizer: &str, template: &str, spec: &PromptSpec) -> Result<Self, EncoderError> {
        let template = &*normalize_line_ends(template);
        let tokenizer = PromptTokenizer::parse(tokenizer, template, spec)?;
        let guard = InjectionGuard::new(&tokenizer.control_tokens(), template, spec.step_token.as_deref())
            .map_err(TokenizerError::from)?;
        let template = Template::parse(template, spec)?;
        let mut encoder = Self {
            template,
            tokenizer,
            guard,
            suffix: spec.suffix.clone(),
            generation_prompt: spec.generation_prompt,
            steps: spec.steps.clone(),
            bos: None,
            rows: None,
            vocabulary: OnceLock::new(),
            variables: TemplateVariables::default(),
            unread: UnreadWarnings::default(),
        };
        let first = ["bos_token", "cls_token"].iter().find_map(|name| spec.special_tokens.get(*name));
        let bos = first.and_then(|token| encoder.token_id(token));
        encoder.bos = bos.filter(|bos| encoder.starts_conversations(*bos));
        Ok(encoder)
    }

    /// Refuses texts with tokens that the model's embedding has no row for. Many tokenizers have a few of them,
    /// such as a padding token that was added for training.
    #[must_use]
    pub fn with_embedding_rows(mut self, rows: usize) -> Self {
        let rows = u32::try_from(rows).unwrap_or(u32::MAX);
        self.rows = Some(rows).filter(|rows| self.tokenizer.largest_id() >= *rows);
        self.bos = self.bos.filter(|bos| self.has_row(*bos));
        self
    }

    /// Does not warn of fields of messages that the template never reads: nobody sent those with which a template is
    /// tried.
    #[must_use]
    pub(crate) fn without_warnings(mut self) -> Self {
        self.unread = UnreadWarnings::off();
        self
    }

    /// Sets variables of the chat template for every conversation; those of a request override them.
    #[must_use]
    pub fn with_variables(mut self, variables: TemplateVariables) -> Self {
        self.variables = variables;
        self
    }

    /// The variables that the chat template has for every conversation.
    pub fn variables(&self) -> &TemplateVariables {
        &self.variables
    }

    /// Whether the chat template reads a variable.
    pub(super) fn reads_variable(&self, name: &str) -> bool {
        self.template.reads(name)
    }

    fn has_row(&self, id: u32) -> bool {
        self.rows.is_none_or(|rows| id < rows)
    }

    /// Whether conversations start with a token.
    fn starts_conversations(&self, token: u32) -> bool {
        let conversation = ["user", "assistant"].map(|role| Message::new(role, "a"));
        // Some templates require the assistant's turn, and some refuse it.
        for turns in [&conversation[..], &conversation[..1]] {
            if let Ok(ids) = self.encode(turns, EncodeOptions::default()) {
                return ids.first() == Some(&token);
            }
        }
        false
    }

    /// Token ids of a conversation, at least one. Only the template's own control tokens are among them.
    ///
    /// # Errors
    /// The conversation is empty, or the template refuses it.
    pub fn encode(&self, messages: &[Message], options: EncodeOptions<'_>) -> Result<Vec<u32>, PromptError> {
        Ok(self.encode_whole(messages, options)?.tokens)
    }

    /// As [`Self::encode`]; also returns where steps end, if each is encoded by itself.
    pub(super) fn encode_whole(
        &self,
        messages: &[Message],
        options: EncodeOptions<'_>,
    ) -> Result<Prompt, PromptError> {
        if let Some(steps) = &self.steps {
            return self.encode_steps(steps, messages, options);
        }
        let add_generation_prompt =
            !options.continue_final_message && (options.add_generation_prompt || self.generation_prompt);
        let mut ids = self.encode_rendered(messages, EncodeOptions { add_generation_prompt, ..options })?;
        ids.extend_from_slice(&self.suffix);
        Ok(ids.into())
    }

    pub(super) fn encode_rendered(
        &self,
        messages: &[Message],
        options: EncodeOptions<'_>,
    ) -> Result<Vec<u32>, PromptError> {
        let variables = self.all_variables(options);
        self.unread.check(&self.template, messages, &variables);
        let plain = self.render(messages, options)?;
        if self.guard.is_harmless(messages, &variables) {
            return self.tokenize(&plain, Some(&[]));
        }
        let (mut text, mut marks) = self.render_guarded(messages, &variables, options, true)?;
        if text != plain {
            (text, marks) = self.render_guarded(messages, &variables, options, false)?;
        }
        self.tokenize(&text, Some(&marks))
    }

    /// The variables of a request, and those that every conversation has.
    fn all_variables<'a>(&'a self, options: EncodeOptions<'a>) -> Cow<'a, TemplateVariables> {
        options.variables.map_or(Cow::Borrowed(&self.variables), |given| given.over(&self.variables))
    }

    fn render_guarded(
        &self,
        messages: &[Message],
        variables: &TemplateVariables,
        options: EncodeOptions<'_>,
        stand_ins: bool,
    ) -> Result<(String, Vec<Mark>), PromptError> {
        let guarded = self.guard.mark(messages, variables, stand_ins)?;
        let (turns, variables) = (guarded.turns.clone(), guarded.variables.clone());
        let rendered = self.template.render(turns, variables, &guarded.marks, options)?;
        Ok(guarded.unmark(&rendered))
    }

    /// The text of a conversation's prompt, as the template renders it.
    ///
    /// # Errors
    /// As for [`Encoder::encode`].
    pub fn render(&self, messages: &[Message], options: EncodeOptions<'_>) -> Result<String, PromptError> {
        if messages.is_empty() {
            return Err(PromptError::NoMessages);
        }
        let turns = messages.iter().map(Message::as_json).collect();
        self.template.render(turns, self.all_variables(options).into_owned(), "", options)
    }

    /// Token ids of a text that has the chat template applied already: control tokens spelled in it are
    /// honoured, and none is added.
    ///
    /// # Errors
    /// The text is empty.
    pub fn encode_text(&self, text: &str) -> Result<Vec<u32>, PromptError> {
        self.tokenize(text, None)
    }

    /// Token ids of a text to be completed. Control tokens spelled in it are honoured. With
    /// `add_special_tokens`, the tokens that the tokenizer puts before a text are added unless the text
    /// starts with them.
    ///
    /// # Errors
    /// The result has no tokens.
    pub fn encode_completion(&self, text: &str, add_special_tokens: bool) -> Result<Vec<u32>, PromptError> {
        let mut ids = self.ids(text, None)?;
        let prefix = self.tokenizer.prefix();
        if add_special_tokens && !ids.starts_with(prefix) {
            ids.splice(..0, prefix.iter().copied());
        }
        if ids.is_empty() { Err(PromptError::Empty) } else { Ok(ids) }
    }

    /// The vocabulary, which turns token ids back into text.
    pub fn vocabulary(&self) -> Arc<Vocabulary> {
        self.vocabulary.get_or_init(|| Arc::new(self.tokenizer.vocabulary())).clone()
    }

    /// Token ids that the template writes before the text of an assistant's turn; `None` if it does not show.
    pub(crate) fn turn_start(&self) -> Option<Vec<u32>> {
        let question = [Message::new("user", "a")];
        let ids = |add_generation_prompt| {
            let options = EncodeOptions { add_generation_prompt, ..EncodeOptions::default() };
            self.encode_rendered(&question, options).ok()
        };
        let (plain, longer) = (ids(false)?, ids(true)?);
        longer.strip_prefix(&plain[..]).filter(|start| !start.is_empty()).map(<[u32]>::to_vec)
    }

    /// Id of an added token that the model knows, for example `<|eot_id|>`.
    pub(crate) fn token_id(&self, token: &str) -> Option<u32> {
        self.tokenizer.added_id(token).filter(|id| self.has_row(*id))
    }

    /// Like [`Encoder::encode_text`], and adds the BOS token and the suffix that every conversation of
    /// the model has where the text lacks them: clients leave them out for servers that add them. A text
    /// that the template rendered gets the ids of its conversation.
    ///
    /// # Errors
    /// The text is empty.
    pub fn encode_templated(&self, text: &str) -> Result<Vec<u32>, PromptError> {
        let mut ids = self.encode_with_bos(text)?;
        if self.suffix_len(&ids) == 0 {
            ids.extend_from_slice(&self.suffix);
        }
        Ok(ids)
    }

    /// Like [`Encoder::encode_text`], and adds the BOS token where the text lacks it.
    pub(super) fn encode_with_bos(&self, text: &str) -> Result<Vec<u32>, PromptError> {
        let mut ids = self.encode_text(text)?;
        if let Some(bos) = self.bos.filter(|bos| ids.first() != Some(bos)) {
            ids.insert(0, bos);
        }
        Ok(ids)
    }

    /// The start of a message's text that has `most` tokens, and how many tokens are left out.
    ///
    /// # Errors
    /// The text cannot be encoded.
    pub(crate) fn first_tokens(&self, text: String, most: usize) -> Result<(String, usize), PromptError> {
        let ids = self.ids_of_turn(&text, false)?;
        let Some(left_out) = ids.len().checked_sub(most).filter(|count| *count > 0) else {
            return Ok((text, 0));
        };
        let mut start = self.vocabulary().decode(&ids[..most]);
        // The last token may end within a character.
        start.truncate(start.trim_end_matches(char::REPLACEMENT_CHARACTER).len());
        Ok((start, left_out))
    }

    /// Token ids of a turn's text by itself, possibly none.
    pub(super) fn ids_of_turn(&self, text: &str, by_assistant: bool) -> Result<Vec<u32>, PromptError> {
        self.ids(text, Some(&self.guard.marks(text, by_assistant, false)))
    }

    /// The text of token ids up to the first control token among them.
    pub(crate) fn text_to_control_token(&self, ids: &[u32]) -> String {
        let end = ids.iter().position(|&id| self.tokenizer.is_control(id)).unwrap_or(ids.len());
        self.vocabulary().decode(&ids[..end])
    }

    /// The source of the chat template.
    pub(crate) fn template_source(&self) -> &str {
        self.guard.template_source()
    }

    /// Whether a text contains a control token, as a text with the chat template applied does.
    pub fn is_templated(&self, text: &str) -> bool {
        self.control_token_in(text).is_some()
    }

    /// A control token that a text spells.
    pub(crate) fn control_token_in(&self, text: &str) -> Option<&str> {
        self.tokenizer.control_tokens().into_iter().find(|token| text.contains(token))
    }

    pub(super) fn starts_with_bos(&self, ids: &[u32]) -> bool {
        self.bos.is_some() && self.bos.as_ref() == ids.first()
    }

    /// Length of the suffix that `ids` end with; 0 if they do not.
    pub(super) fn suffix_len(&self, ids: &[u32]) -> usize {
        if ids.ends_with(&self.suffix) { self.suffix.len() } else { 0 }
    }

    fn tokenize(&self, text: &str, marks: Option<&[Mark]>) -> Result<Vec<u32>, PromptError> {
        let ids = self.ids(text, marks)?;
        if ids.is_empty() { Err(PromptError::Empty) } else { Ok(ids) }
    }

    /// Token ids of a text, possibly none, all of which the model knows.
    fn ids(&self, text: &str, marks: Option<&[Mark]>) -> Result<Vec<u32>, PromptError> {
        let ids = self.tokenizer.encode(text, marks).map_err(|error| unencodable(&error))?;
        match ids.iter().find(|id| !self.has_row(**id)) {
            None => Ok(ids),
            Some(&id) => {
                let token = self.vocabulary().name(id).unwrap_or_default().to_owned();
                Err(PromptError::NoEmbedding { token, id, rows: self.rows.unwrap_or_default() })
            }
        }
    }
}

fn unencodable(error: &TokenizerError) -> PromptError {
    PromptError::Unencodable(error.to_string())
}

fn read(path: &Path) -> Result<String, EncoderFileError> {
    std::fs::read_to_string(path)
        .map_err(|source| EncoderFileError::Unreadable { path: path.to_owned(), source })
}

fn text<'a>(files: &'a EngineFiles, name: &str) -> Result<&'a str, EncoderFileError> {
    let unreadable = |source| EncoderFileError::Unreadable { path: files.directory().join(name), source };
    let bytes = files.get(name).ok_or_else(|| unreadable(io::ErrorKind::NotFound.into()))?;
    std::str::from_utf8(bytes).map_err(|error| unreadable(io::Error::new(io::ErrorKind::InvalidData, error)))
}
