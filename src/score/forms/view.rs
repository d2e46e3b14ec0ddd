//! The columns of a row as forms look at them.

use std::cell::RefCell;
use std::collections::BTreeSet;

use serde_json::Value;

use super::super::conversation::{
    Conversation, list, looks_printed, parse_messages, parse_printed_messages, parse_prompt,
    parse_python_messages, structure, turn,
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
    turns: Conversation,
    /// From a column of its own.
    system: Option<String>,
    /// Whether the turns were messages in a text, as in CSV: then responses may be, too.
    printed: bool,
}

impl Prompt {
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
        let (mut turns, printed) = parsed.ok_or_else(|| ConversationError::of_turns(&value, column))?;
        if column == "instruction" || column == "query" {
            self.add_alpaca(&mut turns)?;
        }
        Ok(Prompt { turns, system: self.system()?, printed })
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
            Value::String(text) => parse_printed_messages(text).or_else(|| parse_dialogue(text)),
            _ => None,
        };
        let turns = turns.ok_or_else(|| ConversationError::of_turns(&value, column))?;
        let finished = self.finish(turns, self.system()?.as_deref(), column);
        Ok(Candidate { turns: Ok(finished?), response: value })
    }

    /// The response in `column` with its prompt.
    pub(super) fn candidate(&self, prompt: &Prompt, column: &str) -> Candidate {
        match self.value(column) {
            Ok(value) => self.answered(prompt, value, column),
            Err(error) => Candidate { turns: Err(error), response: Value::Null },
        }
    }

    /// A response with its prompt. `column` is for errors. Messages that do not start with the assistant contain
    /// their prompt.
    pub(super) fn answered(&self, prompt: &Prompt, value: Value, column: &str) -> Candidate {
        let mut null = None;
        let inner = ["response", "text", "content", "answer"].into_iter().find_map(|field| match &value {
            Value::Object(fields) if !fields.contains_key("role") => {
                let inner = fields.get(field)?;
                if inner.is_null() {
                    null.get_or_insert(field);
                    return None;
                }
                Some(inner)
            }
            _ => None,
        });
        if let (None, Some(field)) = (inner, null) {
            let turns = Err(ConversationError::Missing(format!("{column}.{field}")));
            return Candidate { turns, response: Value::Null };
        }
        let response = inner.cloned().unwrap_or(value);
        let turns = self.turns_of(prompt, &response, column).and_then(|turns| match turns.as_slice() {
            [] => Err(ConversationError::Empty(column.to_owned())),
            [first, _, ..] if first.role != "assistant" => {
                self.finish(turns, prompt.system.as_deref(), column)
            }
            _ if prompt.turns.is_empty() => Err(ConversationError::NoPrompt(column.to_owned())),
            _ => self.finish([prompt.turns.as_slice(), &turns].concat(), prompt.system.as_deref(), column),
        });
        Candidate { turns, response }
    }

    /// The turns of a response: one, unless it is a list of messages, or a text that must be more than one.
    fn turns_of(
        &self,
        prompt: &Prompt,
        response: &Value,
        column: &str,
    ) -> Result<Conversation, ConversationError> {
        let turns = match response {
            Value::Array(list) => parse_messages(list),
            Value::Object(_) => parse_messages(std::slice::from_ref(response)),
            Value::String(text) => match printed_turns(prompt, text) {
                Some(turns) => Some(turns),
                None if looks_printed(text) && parse_printed_messages(text).is_none() => None,
                None if prompt.turns.is_empty() => {
                    parse_dialogue(text).or_else(|| Some(vec![turn("assistant", text)]))
                }
                None => Some(vec![turn("assistant", text)]),
            },
            _ => None,
        };
        turns.ok_or_else(|| ConversationError::of_turns(response, column))
    }

    /// Puts the system prompt first, and checks that the last turn is a response.
    pub(super) fn finish(
        &self,
        mut turns: Conversation,
        system: Option<&str>,
        column: &str,
    ) -> Result<Conversation, ConversationError> {
        if let Some(system) = system {
            match turns.first() {
                Some(first) if first.role == "system" && first.content != system => {
                    return Err(ConversationError::TwoSystems(column.to_owned()));
                }
                Some(first) if first.role == "system" => {}
                _ => turns.insert(0, turn("system", system)),
            }
        }
        match turns.last() {
            None => Err(ConversationError::Empty(column.to_owned())),
            Some(last) if !self.options.allow_unanswered && is_question(&last.role) => {
                Err(ConversationError::Unanswered { column: column.to_owned(), role: last.role.clone() })
            }
            Some(_) => Ok(turns),
        }
    }

    /// A prompt of one user turn, for forms that make it of several columns.
    pub(super) fn prompt_of(&self, turns: Conversation) -> Result<Prompt, ConversationError> {
        Ok(Prompt { turns, system: self.system()?, printed: false })
    }

    /// The steps of a response, each followed by the token at which the model scores it, or by an empty line if they are
    /// only shown.
    pub(super) fn steps(
        &self,
        prompt: &Prompt,
        steps: &[String],
        column: &str,
    ) -> Result<Candidate, ConversationError> {
        if self.options.shows_steps {
            return Ok(self.answered(prompt, Value::String(steps.join("\n\n")), column));
        }
        let token =
            self.options.step_token.as_deref().ok_or_else(|| ConversationError::Steps(column.to_owned()))?;
        let mut text = String::new();
        for (index, step) in steps.iter().enumerate() {
            if step.contains(token) {
                let (column, token) = (column.to_owned(), token.to_owned());
                return Err(ConversationError::StepHoldsEnd { column, step: index + 1, token });
            }
            text.push_str(step);
            text.push_str(token);
        }
        Ok(self.answered(prompt, Value::String(text), column))
    }
}

/// Messages in the text of a response. JSON of messages may well be what the response says, so it is a text
/// unless it repeats the prompt, there is no prompt, or the prompt is written in the same way.
fn printed_turns(prompt: &Prompt, text: &str) -> Option<Conversation> {
    if let Some(turns) = parse_python_messages(text) {
        return Some(turns);
    }
    let turns = parse_printed_messages(text)?;
    let repeats = turns.len() > prompt.turns.len() && turns.starts_with(&prompt.turns);
    (repeats || prompt.printed).then_some(turns)
}

/// Whether a turn of this role waits for a response.
fn is_question(role: &str) -> bool {
    ["user", "system", "developer", "tool"].contains(&role)
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
