//! What may be scored here: conversations, texts that were templated already, and token ids.

use serde_json::Value;

use crate::api::chat::check_last_turn;
use crate::api::fields::{Fields, wrong_type};
use crate::api::request::check_count;
use crate::api::{ApiError, App, messages};
use crate::config::ServerSettings;
use crate::prompt::{Message, Prompt, Truncation};
use crate::serving::LengthPolicy;

/// A text to score.
pub(super) enum Text {
    /// Turns, which the model's template renders.
    Conversation(Vec<Message>),
    /// What a template rendered; control tokens in it are honoured.
    Templated(String),
    /// Token ids.
    Tokens(Vec<u32>),
    /// A prompt and its response: turns, or, where the prompt spells control tokens, the two ends of
    /// what a template rendered.
    Pair(String, String),
}

impl Text {
    fn encode(self, app: &App, length: LengthPolicy) -> Result<Prompt, ApiError> {
        let scorer = app.scorer()?;
        let turn = |role: &str, content| Message { role: role.into(), content };
        match self {
            Self::Conversation(messages) => {
                check_last_turn(app, &messages)?;
                Ok(scorer.encode(&messages, length)?)
            }
            Self::Templated(text) => Ok(scorer.encode_templated(&text, length)?),
            Self::Tokens(tokens) => {
                match tokens.iter().find(|token| **token as usize >= app.manifest.model.vocab_size) {
                    Some(token) => {
                        let reason = format!(
                            "holds the token id {token}, and the model's are below {}",
                            app.manifest.model.vocab_size
                        );
                        Err(ApiError::Invalid("input".into(), reason))
                    }
                    None => Ok(scorer.cut(tokens, length)),
                }
            }
            Self::Pair(prompt, response) if scorer.is_templated(&prompt) => {
                Ok(scorer.encode_templated(&(prompt + &response), length)?)
            }
            Self::Pair(prompt, response) => {
                Ok(scorer.encode(&[turn("user", prompt), turn("assistant", response)], length)?)
            }
        }
    }
}

/// Token ids of each text.
///
/// # Errors
/// One of them has none; the error says which.
pub(super) fn encode(app: &App, texts: Vec<Text>, length: LengthPolicy) -> Result<Vec<Prompt>, ApiError> {
    let alone = texts.len() == 1;
    let encode = |(index, text): (usize, Text)| {
        let prompt = text.encode(app, length);
        prompt.map_err(|error| if alone { error } else { ApiError::Item(index, Box::new(error)) })
    };
    texts.into_iter().enumerate().map(encode).collect()
}

/// Takes `messages`, which is one conversation, or else `input`: a text, token ids, or a list of
/// either.
///
/// # Errors
/// Neither is there, or it is something else.
pub(super) fn messages_or_input(
    fields: &mut Fields,
    settings: &ServerSettings,
) -> Result<Vec<Text>, ApiError> {
    match fields.take("messages")? {
        Some(list) => Ok(vec![Text::Conversation(messages::read("messages", list)?)]),
        None => input(fields.require("input")?, settings),
    }
}

fn input(value: Value, settings: &ServerSettings) -> Result<Vec<Text>, ApiError> {
    const EXPECTED: &str = "a text, a list of texts, token ids or a list of lists of them";
    match value {
        Value::String(text) => Ok(vec![Text::Templated(text)]),
        Value::Array(list) if list.iter().all(Value::is_number) && !list.is_empty() => {
            Ok(vec![Text::Tokens(tokens("input", list)?)])
        }
        Value::Array(list) => {
            check_count("input", list.len(), settings)?;
            let item = |(index, value): (usize, Value)| {
                let path = format!("input[{index}]");
                match value {
                    Value::String(text) => Ok(Text::Templated(text)),
                    Value::Array(ids) => tokens(&path, ids).map(Text::Tokens),
                    other => Err(wrong_type(path, "a text or token ids", &other)),
                }
            };
            list.into_iter().enumerate().map(item).collect()
        }
        other => Err(wrong_type("input".into(), EXPECTED, &other)),
    }
}

fn tokens(path: &str, list: Vec<Value>) -> Result<Vec<u32>, ApiError> {
    let id = |(index, value): (usize, Value)| {
        let id = value.as_u64().and_then(|id| u32::try_from(id).ok());
        id.ok_or_else(|| wrong_type(format!("{path}[{index}]"), "a token id", &value))
    };
    list.into_iter().enumerate().map(id).collect()
}

/// Takes a list of strings out of a request.
///
/// # Errors
/// It is missing, too long, or holds something else.
pub(super) fn strings(
    fields: &mut Fields,
    name: &str,
    settings: &ServerSettings,
) -> Result<Vec<String>, ApiError> {
    let list: Vec<Value> = fields.require(name)?;
    check_count(name, list.len(), settings)?;
    let string = |(index, value): (usize, Value)| match value {
        Value::String(text) => Ok(text),
        other => Err(wrong_type(format!("{name}[{index}]"), "a string", &other)),
    };
    list.into_iter().enumerate().map(string).collect()
}

/// Takes `truncate_prompt_tokens`, of vLLM: so many tokens are kept of a text's end, or, for -1, as many
/// as the engine takes.
///
/// # Errors
/// It is no such number.
pub(super) fn truncate_prompt_tokens(fields: &mut Fields) -> Result<Option<LengthPolicy>, ApiError> {
    let Some(tokens) = fields.take::<i64>("truncate_prompt_tokens")? else { return Ok(None) };
    let tokens = match tokens {
        -1 => None,
        1.. => usize::try_from(tokens).ok(),
        _ => {
            let reason = "must be a number of tokens from 1, or -1 for as many as the engine takes";
            return Err(ApiError::Invalid(fields.path("truncate_prompt_tokens"), reason.into()));
        }
    };
    Ok(Some(LengthPolicy { truncation: Truncation::Left, tokens }))
}
