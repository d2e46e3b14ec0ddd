//! The columns of a row as forms look at them.

use std::cell::RefCell;
use std::collections::BTreeSet;

use serde_json::Value;

use super::super::conversation::{
    Conversation, list, parse_messages, parse_printed_messages, parse_prompt, structure, transposed, turn,
};
use super::super::dialogue::parse_dialogue;
use super::super::rows::InputKinds;
use super::super::{ConversationError, Row};
use super::found::Candidate;
use super::names::{ColumnNames, PROMPTS, SYSTEMS};

/// How a row is read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(in crate::score) struct ReadOptions {
    pub(super) names: ColumnNames,
    pub(super) allow_unanswered: bool,
    /// The token that the model reads after each step; `None` if it does not score steps.
    pub(super) step_token: Option<String>,
    /// Whether steps are only shown: then any text may be a step, and no token is needed.
    pub(super) shows_steps: bool,
    pub(super) inputs: InputKinds,
}

/// A row, and how to read it. It remembers which columns were read.
pub(in crate::score) struct RowView<'a> {
    row: &'a Row,
    pub(super) options: &'a ReadOptions,
    read: RefCell<BTreeSet<String>>,
}

/// What comes before the response.
#[derive(Clone, Debug, Default)]
pub(super) struct Prompt {
    pub(super) turns: Conversation,
    /// From a column of its own.
    pub(super) system: Option<String>,
    /// Whether the turns were messages in a text, as in CSV: then responses may be, too.
    pub(super) printed: bool,
}

impl Prompt {
    /// Whether it ends with a response, so that another one would be a second turn of the assistant.
    pub(super) fn is_answered(&self) -> bool {
        self.turns.last().is_some_and(|turn| turn.role == "assistant")
    }

    /// The same turns under another system prompt, if there is one.
    pub(super) fn with_system(&self, system: Option<&str>) -> Self {
        match system.filter(|system| !system.is_empty()) {
            Some(system) => Self { system: Some(system.to_owned()), ..self.clone() },
            None => self.clone(),
        }
    }
}

impl<'a> RowView<'a> {
    pub(in crate::score) fn new(row: &'a Row, options: &'a ReadOptions) -> Self {
        Self { row, options, read: RefCell::default() }
    }

    /// The columns that were read so far.
    pub(super) fn columns_read(&self) -> BTreeSet<String> {
        self.read.borrow().clone()
    }

    /// Whether the row has a column, or a field in an object such as `question.full_text`.
    pub(super) fn has(&self, path: &str) -> bool {
        self.row.contains(path) || path.contains('.') && self.peek(path).is_some()
    }

    pub(super) fn has_all(&self, paths: &[&str]) -> bool {
        paths.iter().all(|path| self.has(path))
    }

    /// The value of a column or field, for deciding whether a form fits; `None` if there is none.
    pub(super) fn peek(&self, path: &str) -> Option<Value> {
        if let Some(cell) = self.row.get(path) {
            return Some(cell.value()).filter(|value| !value.is_null());
        }
        let (column, fields) = path.split_once('.')?;
        let mut value = structure(&self.row.get(column)?.value())?;
        for field in fields.split('.') {
            value = value.get_mut(field)?.take();
        }
        Some(value).filter(|value| !value.is_null())
    }

    /// The value of a column or field that the conversation is made of; `None` if there is none.
    pub(super) fn find(&self, path: &str) -> Option<Value> {
        self.read.borrow_mut().insert(path.split('.').next().unwrap_or(path).to_owned());
        self.read.borrow_mut().insert(path.to_owned());
        self.peek(path)
    }

    /// As [`RowView::find`].
    ///
    /// # Errors
    /// There is none.
    pub(super) fn value(&self, path: &str) -> Result<Value, ConversationError> {
        if self.options.inputs.not_texts.iter().any(|column| column == path) && self.peek(path).is_some() {
            return Err(ConversationError::NotText(path.to_owned()));
        }
        self.find(path).ok_or_else(|| self.missing(path))
    }

    /// Why a column or field has no value.
    fn missing(&self, path: &str) -> ConversationError {
        let cell = self.row.get(path).filter(|cell| !cell.is_null());
        match cell.map(|cell| serde_json::from_str::<Value>(cell.json())) {
            Some(Err(error)) => {
                ConversationError::Unreadable { column: path.to_owned(), reason: error.to_string() }
            }
            _ => ConversationError::Missing(path.to_owned()),
        }
    }

    /// The items of a list; `None` if the value is something else. Only where there are no other lists, a text that
    /// spells one is one.
    pub(super) fn items(&self, value: Value) -> Option<Vec<Value>> {
        match value {
            Value::Array(items) => Some(items),
            other if self.options.inputs.lists_in_texts => list(&other),
            _ => None,
        }
    }

    /// The items of a list in a column, for deciding whether a form fits.
    pub(super) fn peek_items(&self, path: &str) -> Option<Vec<Value>> {
        self.items(self.peek(path)?)
    }

    /// A list that is not empty.
    pub(super) fn list(&self, path: &str) -> Result<Vec<Value>, ConversationError> {
        let found =
            self.items(self.value(path)?).ok_or_else(|| ConversationError::NotAList(path.to_owned()))?;
        if found.is_empty() { Err(ConversationError::Empty(path.to_owned())) } else { Ok(found) }
    }

    /// A list of texts that is not empty.
    pub(super) fn texts(&self, path: &str) -> Result<Vec<String>, ConversationError> {
        let texts = self.list(path)?.into_iter().map(|item| match item {
            Value::String(text) => Some(text),
            _ => None,
        });
        texts.collect::<Option<_>>().ok_or_else(|| ConversationError::NotTexts(path.to_owned()))
    }

    /// A number, which CSV holds as text.
    pub(super) fn number(&self, path: &str) -> Option<f64> {
        number(&self.find(path)?)
    }

    /// A text.
    pub(super) fn text(&self, path: &str) -> Option<String> {
        self.find(path)?.as_str().map(str::to_owned)
    }

    /// The column that the command line names, or else the first of the usual ones that the row has.
    pub(super) fn column<'n>(&self, named: Option<&'n str>, usual: &[&'n str]) -> Option<&'n str> {
        match named {
            Some(name) => self.has(name).then_some(name),
            None => usual.iter().copied().find(|name| self.has(name)),
        }
    }

    /// The column of the prompt.
    pub(super) fn prompt_column(&self) -> Option<&str> {
        self.column(self.options.names.prompt(), &PROMPTS)
    }

    /// The prompt in `column`, with the row's system prompt, and with the `input` and `history` of Alpaca's form.
    pub(super) fn prompt(&self, column: &str) -> Result<Prompt, ConversationError> {
        let value = self.value(column)?;
        let parsed = parse_prompt(&value);
        let (mut turns, printed) = parsed.ok_or_else(|| ConversationError::from_turns(&value, column))?;
        if column == "instruction" || column == "query" {
            self.add_alpaca(&mut turns)?;
        }
        Ok(Prompt { turns, system: self.system()?, printed })
    }

    /// A prompt of one user turn, for forms that make it of several columns.
    pub(super) fn prompt_of(&self, turns: Conversation) -> Result<Prompt, ConversationError> {
        Ok(Prompt { turns, system: self.system()?, printed: false })
    }

    /// A row without a prompt of its own: the responses contain it.
    pub(super) fn no_prompt(&self) -> Result<Prompt, ConversationError> {
        Ok(Prompt { system: self.system()?, ..Prompt::default() })
    }

    /// Alpaca's `input` belongs to the instruction, and `history` has the turns before it.
    fn add_alpaca(&self, turns: &mut Conversation) -> Result<(), ConversationError> {
        if let Some(input) = self.text_or_number("input")?
            && let Some(last) = turns.last_mut()
        {
            last.content = if last.content.is_empty() { input } else { format!("{}\n{input}", last.content) };
        }
        let Some(history) = self.find("history").filter(|history| history.as_str() != Some("")) else {
            return Ok(());
        };
        let malformed = || ConversationError::History("history".to_owned());
        let mut before = Vec::new();
        for exchange in list(&history).ok_or_else(malformed)? {
            match exchange.as_array().map(Vec::as_slice) {
                Some([Value::String(question), Value::String(answer)]) => {
                    before.extend([turn("user", question), turn("assistant", answer)]);
                }
                _ => return Err(malformed()),
            }
        }
        turns.splice(0..0, before);
        Ok(())
    }

    /// The row's system prompt, if it has a column for it.
    fn system(&self) -> Result<Option<String>, ConversationError> {
        match self.column(self.options.names.system(), &SYSTEMS) {
            Some(column) => self.text_or_number(column),
            None => Ok(None),
        }
    }

    /// A text, or a number as a table has it; `None` if there is none, or an empty one.
    fn text_or_number(&self, path: &str) -> Result<Option<String>, ConversationError> {
        let value = match self.value(path) {
            Err(ConversationError::Missing(_)) => return Ok(None),
            value => value?,
        };
        Ok(match value {
            Value::String(text) => Some(text).filter(|text| !text.is_empty()),
            // The cell has the digits as they are.
            Value::Number(number) => {
                let cell = self.row.get(path).map(|cell| cell.json().to_owned());
                Some(cell.unwrap_or_else(|| number.to_string()))
            }
            Value::Array(items) if items.is_empty() => None,
            _ => return Err(ConversationError::NotPlain(path.to_owned())),
        })
    }

    /// A whole conversation in a list of messages, or a dialogue in a text.
    pub(super) fn conversation(&self, column: &str) -> Result<Candidate, ConversationError> {
        let value = self.value(column)?;
        let turns = match &value {
            Value::Array(list) => parse_messages(list),
            Value::Object(_) => transposed(&value).and_then(|list| parse_messages(&list)),
            Value::String(text) => parse_printed_messages(text).or_else(|| parse_dialogue(text)),
            _ => None,
        };
        let turns = turns.ok_or_else(|| ConversationError::from_turns(&value, column))?;
        let finished = self.finish(turns, self.system()?.as_deref(), column);
        Ok(Candidate { turns: Ok(finished?), response: value })
    }
}

/// A number, or its text.
pub(in crate::score) fn number(value: &Value) -> Option<f64> {
    match value {
        Value::Bool(yes) => Some(f64::from(u8::from(*yes))),
        Value::String(text) => match text.as_str() {
            "True" | "true" => Some(1.0),
            "False" | "false" => Some(0.0),
            text => text.trim().parse().ok(),
        },
        value => value.as_f64(),
    }
}
