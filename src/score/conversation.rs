//! Parses the values of a row's columns into conversations.

use std::borrow::Cow;

use serde_json::Value;

use super::ConversationError;
use crate::prompt::Message;

/// The turns of a conversation, in their order.
pub(super) type Conversation = Vec<Message>;

/// A list, or a JSON list in a text, which is how CSV holds one.
pub(super) fn list(value: &Value) -> Option<Cow<'_, [Value]>> {
    match value {
        Value::Array(list) => Some(list.as_slice().into()),
        Value::String(text) if text.trim_start().starts_with('[') => {
            serde_json::from_str::<Vec<Value>>(text).ok().map(Into::into)
        }
        _ => None,
    }
}

/// Parses a column with a whole conversation.
pub(super) fn parse_messages(value: &Value, column: &str) -> Result<Conversation, ConversationError> {
    let turns = parse_turns(value, "assistant", column)?;
    if turns.is_empty() { Err(ConversationError::Empty(column.to_owned())) } else { Ok(turns) }
}

/// Parses a column with a prompt. An empty `Assistant:` at the end of a dialogue only asks for a response.
pub(super) fn parse_prompt(value: &Value, column: &str) -> Result<Conversation, ConversationError> {
    let mut turns = parse_turns(value, "user", column)?;
    if turns.len() > 1 && turns.last().is_some_and(|turn| turn.role == "assistant" && turn.content.is_empty())
    {
        turns.pop();
    }
    Ok(turns)
}

/// Parses a column with a response, and appends it to its prompt `start`. A list of messages that does not
/// start with the assistant contains its prompt, and replaces `start`.
pub(super) fn parse_answered(
    start: &[Message],
    response: &Value,
    column: &str,
) -> Result<Conversation, ConversationError> {
    let text = response.get("response").or_else(|| response.get("text")).or_else(|| response.get("content"));
    let response = parse_turns(text.unwrap_or(response), "assistant", column)?;
    match response.as_slice() {
        [] => return Err(ConversationError::Empty(column.to_owned())),
        [first, _, ..] if first.role != "assistant" => return Ok(response),
        _ => {}
    }
    if start.is_empty() {
        return Err(ConversationError::NoPrompt(column.to_owned()));
    }
    Ok([start, &response].concat())
}

/// Parses the text of one turn of `role`, a dialogue in the format of hh-rlhf, or a list of messages.
fn parse_turns(value: &Value, role: &str, column: &str) -> Result<Conversation, ConversationError> {
    match value {
        Value::Array(messages) => {
            let messages = messages.iter().map(parse_message).collect::<Option<_>>();
            messages.ok_or_else(|| ConversationError::Message(column.to_owned()))
        }
        Value::String(text) => {
            let turns = parse_json_messages(text).or_else(|| parse_dialogue(text));
            Ok(turns.unwrap_or_else(|| vec![Message { role: role.into(), content: text.clone() }]))
        }
        _ => Err(ConversationError::NotText(column.to_owned())),
    }
}

/// Messages as JSON in a text, which is how CSV holds them. A text that only starts like a list is a text:
/// responses may well be lists.
fn parse_json_messages(text: &str) -> Option<Conversation> {
    if !text.trim_start().starts_with('[') {
        return None;
    }
    let messages: Vec<Value> = serde_json::from_str(text).ok()?;
    messages.first()?;
    messages.iter().map(parse_message).collect()
}

/// `{"role": ..., "content": ...}`.
fn parse_message(message: &Value) -> Option<Message> {
    let role = message.get("role")?.as_str()?;
    Some(Message { role: role.into(), content: parse_content(message.get("content")?)? })
}

/// Text, or OpenAI's list of parts if all of them are text.
fn parse_content(content: &Value) -> Option<String> {
    match content {
        Value::String(text) => Some(text.clone()),
        Value::Array(parts) => parts.iter().map(|part| part.get("text")?.as_str()).collect(),
        _ => None,
    }
}

/// `\n\nHuman: ...\n\nAssistant: ...`, the format of Anthropic's hh-rlhf.
fn parse_dialogue(text: &str) -> Option<Conversation> {
    const SPEAKERS: [(&str, &str); 2] = [("\n\nHuman:", "user"), ("\n\nAssistant:", "assistant")];
    if !text.starts_with(SPEAKERS[0].0) {
        return None;
    }
    let mut turns = Vec::new();
    let mut rest = text;
    while let Some((speaker, role)) = SPEAKERS.into_iter().find(|(speaker, _)| rest.starts_with(speaker)) {
        rest = &rest[speaker.len()..];
        let end = SPEAKERS.iter().filter_map(|(speaker, _)| rest.find(speaker)).min().unwrap_or(rest.len());
        turns.push(Message { role: role.into(), content: rest[..end].trim().to_owned() });
        rest = &rest[end..];
    }
    Some(turns)
}
