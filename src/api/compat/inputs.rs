//! What the compatibility routes score: conversations, texts with the chat template applied, and token ids.

use serde::Deserialize;
use serde_json::Value;
use utoipa::ToSchema;

use crate::api::app::App;
use crate::api::error::ApiError;
use crate::api::fields::{Fields, wrong_type};
use crate::api::item_path::ItemPath;
use crate::api::items::Item;
use crate::api::messages;
use crate::api::middleware::limits::check_count;
use crate::config::ServerSettings;
use crate::prompt::{Message, Truncation};
use crate::serving::LengthPolicy;

/// A text to score, and where it is in the request.
pub(super) struct Input {
    pub(super) text: Text,
    pub(super) path: ItemPath,
}

pub(super) enum Text {
    /// Messages, which the model's chat template renders.
    Conversation(Vec<Message>),
    /// What a chat template rendered; control tokens in it are recognised.
    Templated(String),
    /// Token ids.
    Tokens(Vec<u32>),
    /// A prompt and its response: messages, or, if the prompt spells control tokens, the two parts of what a
    /// chat template rendered.
    Pair(String, String),
}

/// A text with the chat template applied, token ids, or a list of either.
#[derive(Deserialize, ToSchema)]
#[serde(untagged)]
#[schema(as = Input)]
#[expect(dead_code, reason = "the schema of what `messages_or_input` reads")]
pub(super) enum InputSchema {
    Text(String),
    Texts(Vec<String>),
    Tokens(Vec<u32>),
    TokenLists(Vec<Vec<u32>>),
}

impl Input {
    /// A text in one field.
    pub(super) fn at(path: impl Into<String>, text: Text) -> Self {
        Self { text, path: ItemPath::field(path) }
    }
}

impl Text {
    pub(super) fn encode(self, app: &App, path: ItemPath, length: LengthPolicy) -> Result<Item, ApiError> {
        let (scorer, settings) = (app.scorer()?, &app.settings.server);
        match self {
            Self::Conversation(messages) => Item::conversation(scorer, &messages, path, length, settings),
            Self::Templated(text) => Item::new(path, scorer.encode_templated(&text, length)),
            Self::Tokens(tokens) => {
                check_tokens(&tokens, app.manifest.model.vocab_size, &path)?;
                Item::new(path, Ok(scorer.cut(tokens, length)))
            }
            Self::Pair(prompt, response) if scorer.is_templated(&prompt) => {
                Item::new(path, scorer.encode_templated(&(prompt + &response), length))
            }
            Self::Pair(prompt, response) => {
                let messages = [turn("user", prompt), turn("assistant", response)];
                Item::new(path, scorer.encode(&messages, length))
            }
        }
    }
}

pub(super) fn turn(role: &str, content: impl Into<String>) -> Message {
    Message { role: role.into(), content: content.into() }
}

/// Refuses ids that the model does not have.
fn check_tokens(tokens: &[u32], vocab_size: usize, path: &ItemPath) -> Result<(), ApiError> {
    match tokens.iter().find(|token| **token as usize >= vocab_size) {
        Some(token) => {
            let reason = format!("holds the token id {token}, and the model's are below {vocab_size}");
            Err(ApiError::invalid(path.whole(), reason))
        }
        None => Ok(()),
    }
}

/// Takes `messages`, which is one conversation, or else `input`: a text, token ids, or a list of either.
///
/// # Errors
/// Neither is there, or it is something else.
pub(super) fn messages_or_input(
    fields: &mut Fields,
    settings: &ServerSettings,
) -> Result<Vec<Input>, ApiError> {
    match fields.take("messages")? {
        Some(list) => {
            let messages = messages::read("messages", list)?;
            Ok(vec![Input::at("messages", Text::Conversation(messages))])
        }
        None => input(fields.require("input")?, settings),
    }
}

fn input(value: Value, settings: &ServerSettings) -> Result<Vec<Input>, ApiError> {
    const EXPECTED: &str = "a text, a list of texts, token ids or a list of lists of them";
    match value {
        Value::String(text) => Ok(vec![Input::at("input", Text::Templated(text))]),
        Value::Array(list) if list.iter().all(Value::is_number) && !list.is_empty() => {
            Ok(vec![Input::at("input", Text::Tokens(tokens("input", list)?))])
        }
        Value::Array(list) => {
            check_count("input", list.len(), settings)?;
            let mut inputs = Vec::with_capacity(list.len());
            for (index, value) in list.into_iter().enumerate() {
                let path = format!("input[{index}]");
                let text = match value {
                    Value::String(text) => Text::Templated(text),
                    Value::Array(ids) => Text::Tokens(tokens(&path, ids)?),
                    other => return Err(wrong_type(path, "a text or token ids", &other)),
                };
                inputs.push(Input::at(path, text));
            }
            Ok(inputs)
        }
        other => Err(wrong_type("input", EXPECTED, &other)),
    }
}

fn tokens(path: &str, list: Vec<Value>) -> Result<Vec<u32>, ApiError> {
    let mut ids = Vec::with_capacity(list.len());
    for (index, value) in list.into_iter().enumerate() {
        match value.as_u64().and_then(|id| u32::try_from(id).ok()) {
            Some(id) => ids.push(id),
            None => return Err(wrong_type(format!("{path}[{index}]"), "a token id", &value)),
        }
    }
    Ok(ids)
}

/// Takes a list of strings out of a request.
///
/// # Errors
/// It is missing, empty or too long, or holds something else.
pub(super) fn strings(
    fields: &mut Fields,
    name: &str,
    settings: &ServerSettings,
) -> Result<Vec<String>, ApiError> {
    let list: Vec<Value> = fields.require(name)?;
    check_count(name, list.len(), settings)?;
    let mut strings = Vec::with_capacity(list.len());
    for (index, value) in list.into_iter().enumerate() {
        match value {
            Value::String(text) => strings.push(text),
            other => return Err(wrong_type(format!("{name}[{index}]"), "a string", &other)),
        }
    }
    Ok(strings)
}

/// Takes vLLM's `truncate_prompt_tokens`: how many tokens are kept of a text's end, or -1 for as many as the
/// engine takes.
///
/// # Errors
/// It is another number.
pub(super) fn truncate_prompt_tokens(fields: &mut Fields) -> Result<Option<LengthPolicy>, ApiError> {
    let Some(tokens) = fields.take::<i64>("truncate_prompt_tokens")? else { return Ok(None) };
    let tokens = match tokens {
        -1 => None,
        1.. => usize::try_from(tokens).ok(),
        _ => {
            let reason = "must be a number of tokens from 1, or -1 for as many as the engine takes";
            return Err(ApiError::invalid(fields.path("truncate_prompt_tokens"), reason));
        }
    };
    Ok(Some(LengthPolicy { truncation: Truncation::Left, tokens }))
}
