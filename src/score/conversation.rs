//! Parses values of a row's columns into turns of conversations.

use serde_json::{Map, Value};

use super::dialogue::parse_dialogue;
use super::python_literal;
use crate::prompt::Message;

/// The turns of a conversation, in their order.
pub(super) type Conversation = Vec<Message>;

/// Names that data sets give to the roles of OpenAI's format.
const ROLE_NAMES: [(&str, &str); 16] = [
    ("human", "user"),
    ("prompter", "user"),
    ("user", "user"),
    ("gpt", "assistant"),
    ("chatgpt", "assistant"),
    ("bing", "assistant"),
    ("bard", "assistant"),
    ("bot", "assistant"),
    ("model", "assistant"),
    ("function_call", "assistant"),
    ("tool_call", "assistant"),
    ("assistant", "assistant"),
    ("observation", "tool"),
    ("tool_response", "tool"),
    ("system", "system"),
    ("tool", "tool"),
];

/// Names of a question and its answer in one object.
const EXCHANGE_NAMES: [(&str, &str); 4] =
    [("input", "output"), ("prompt", "response"), ("question", "answer"), ("instruction", "output")];

/// A list, or one in a text, which is how CSV holds it: as JSON, or as Python prints it.
pub(super) fn list(value: &Value) -> Option<Vec<Value>> {
    match structure(value)? {
        Value::Array(list) => Some(list),
        _ => None,
    }
}

/// A list or an object, or one in a text.
pub(super) fn structure(value: &Value) -> Option<Value> {
    match value {
        Value::Array(_) | Value::Object(_) => Some(value.clone()),
        Value::String(text) => {
            let parsed = serde_json::from_str(text).ok().or_else(|| python_literal::parse(text));
            parsed.filter(|parsed: &Value| parsed.is_array() || parsed.is_object())
        }
        _ => None,
    }
}

/// The messages of a list; `None` if an item is neither a message nor an exchange.
pub(super) fn parse_messages(list: &[Value]) -> Option<Conversation> {
    let mut turns = Vec::with_capacity(list.len());
    for item in list {
        match parse_exchange(item) {
            Some(exchange) => turns.extend(exchange),
            None => turns.push(parse_message(item)?),
        }
    }
    Some(turns)
}

/// The messages of an object of lists, `{"role": [...], "content": [...]}`, which is how Hugging Face's datasets give
/// back a list of objects; `None` if the value is something else.
pub(super) fn transposed(value: &Value) -> Option<Vec<Value>> {
    let fields =
        value.as_object().filter(|fields| fields.contains_key("role") || fields.contains_key("from"))?;
    let lists: Vec<(&String, &Vec<Value>)> =
        fields.iter().map(|(name, value)| Some((name, value.as_array()?))).collect::<Option<_>>()?;
    let length = lists.first()?.1.len();
    if lists.iter().any(|(_, list)| list.len() != length) {
        return None;
    }
    let message = |index: usize| {
        let given = lists.iter().filter(|(_, list)| !list[index].is_null());
        given.map(|(name, list)| ((*name).clone(), list[index].clone())).collect::<Map<_, _>>().into()
    };
    Some((0..length).map(message).collect())
}

/// A turn and its answer in one object, as in ms-swift's `{"human": ..., "assistant": ...}`.
fn parse_exchange(item: &Value) -> Option<[Message; 2]> {
    let fields =
        item.as_object().filter(|fields| !fields.contains_key("role") && !fields.contains_key("from"))?;
    for (asked, answered) in EXCHANGE_NAMES {
        if let (Some(asked), Some(answered)) = (fields.get(asked), fields.get(answered)) {
            return Some([turn("user", asked.as_str()?), turn("assistant", answered.as_str()?)]);
        }
    }
    if fields.len() != 2 {
        return None;
    }
    let (mut asked, mut answered) = (None, None);
    for (name, text) in fields {
        let text = text.as_str()?;
        match role_name(name).as_str() {
            "assistant" => answered = Some(turn("assistant", text)),
            role @ ("user" | "tool") => asked = Some(turn(role, text)),
            _ => return None,
        }
    }
    Some([asked?, answered?])
}

/// Messages in a text, as JSON or as Python prints them. A text that only starts like a list is a text.
pub(super) fn parse_printed_messages(text: &str) -> Option<Conversation> {
    if !text.trim_start().starts_with(['[', 'a']) {
        return None;
    }
    let Value::Array(list) = structure(&Value::from(text))? else { return None };
    if list.is_empty() { None } else { parse_messages(&list) }
}

/// Messages that Python printed: no JSON, so hardly the text of a turn.
pub(super) fn parse_python_messages(text: &str) -> Option<Conversation> {
    if serde_json::from_str::<serde::de::IgnoredAny>(text).is_ok() {
        return None;
    }
    parse_printed_messages(text)
}

/// Whether a text begins like messages that Python printed. numpy prints only the first and the last of many.
pub(super) fn looks_printed(text: &str) -> bool {
    let start: String = text.chars().filter(|character| !character.is_whitespace()).take(16).collect();
    ["[{'role'", "[{'content'", "[{'from'", "[{'value'", "array([{'"]
        .iter()
        .any(|known| start.starts_with(known))
}

/// `{"role": ..., "content": ...}`, or ShareGPT's `{"from": ..., "value": ...}`. Other fields are left to the chat
/// template. Only a message with tool calls may lack a content.
pub(super) fn parse_message(message: &Value) -> Option<Message> {
    let mut fields = message.as_object()?.clone();
    let is_openai = fields.contains_key("role");
    let (role, content) = if is_openai { ("role", "content") } else { ("from", "value") };
    let role = role_name(fields.shift_remove(role)?.as_str()?);
    let content = match fields.shift_remove(content) {
        Some(Value::Null) | None if calls_tools(&fields) => None,
        content => Some(parse_content(&content?)?),
    };
    Some(Message::with_fields(role, content, fields))
}

fn calls_tools(fields: &Map<String, Value>) -> bool {
    fields.get("tool_calls").and_then(Value::as_array).is_some_and(|calls| !calls.is_empty())
}

/// OpenAI's name of a role. Unknown ones are left to the chat template.
pub(super) fn role_name(role: &str) -> String {
    let known = ROLE_NAMES.iter().find(|(name, _)| role.eq_ignore_ascii_case(name));
    known.map_or(role, |(_, name)| name).to_owned()
}

/// Text, or OpenAI's list of parts if all of them are text.
fn parse_content(content: &Value) -> Option<String> {
    match content {
        Value::String(text) => Some(text.clone()),
        Value::Array(parts) => {
            let texts: Option<Vec<String>> =
                parts.iter().map(|part| part.get("text")?.as_str().map(str::to_owned)).collect();
            texts.map(|texts| Message::join_parts(&texts))
        }
        _ => None,
    }
}

/// One turn of `role`.
pub(super) fn turn(role: &str, content: &str) -> Message {
    Message::new(role, content)
}

/// The turns of a prompt, and whether they were messages in a text. An empty turn of the assistant at the end
/// of a dialogue only asks for a response.
pub(super) fn parse_prompt(value: &Value) -> Option<(Conversation, bool)> {
    let (mut turns, printed) = match value {
        Value::Array(list) => (parse_messages(list)?, false),
        Value::Object(_) => match transposed(value) {
            Some(messages) => (parse_messages(&messages)?, false),
            None => (vec![parse_message(value)?], false),
        },
        Value::String(text) => match parse_printed_messages(text) {
            Some(turns) => (turns, true),
            None if looks_printed(text) => return None,
            None => (parse_dialogue(text).unwrap_or_else(|| vec![turn("user", text)]), false),
        },
        _ => return None,
    };
    if turns.len() > 1 && turns.last().is_some_and(|turn| turn.role == "assistant" && turn.content.is_empty())
    {
        turns.pop();
    }
    Some((turns, printed))
}
