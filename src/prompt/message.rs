//! One turn of a conversation, as the chat template gets it.

use serde_json::{Map, Value};

use super::template::size;

/// One turn of a conversation.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Message {
    /// Who speaks. The chat template decides which roles a model knows, and in which order.
    pub role: String,
    /// Text of the turn; may be empty.
    pub content: String,
    /// What else the chat template may read.
    pub more: MessageFields,
}

/// Fields of a message other than its role and content.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MessageFields {
    /// Values by name, such as `name`, `tool_calls` or `reasoning_content`; none is null.
    pub fields: Map<String, Value>,
    /// Whether the message has no content, not even an empty one, like many with tool calls.
    pub lacks_content: bool,
}

/// Names under which clients send a model's reasoning. The first is the one that most templates read.
const REASONING: [&str; 3] = ["reasoning_content", "thinking", "reasoning"];

impl Message {
    /// A message with a role and a text only.
    pub fn new(role: impl Into<String>, content: impl Into<String>) -> Self {
        Self { role: role.into(), content: content.into(), more: MessageFields::default() }
    }

    /// A message with further `fields`, as clients and data sets have them: nulls and an empty list of tool calls are
    /// left out, arguments of tool calls that are JSON in a text are parsed, and reasoning gets all of its names.
    pub fn with_fields(role: String, content: Option<String>, mut fields: Map<String, Value>) -> Self {
        fields.retain(|name, value| {
            let is_empty = name == "tool_calls" && value.as_array().is_some_and(Vec::is_empty);
            !value.is_null() && !is_empty
        });
        for call in fields.get_mut("tool_calls").and_then(Value::as_array_mut).into_iter().flatten() {
            if let Some(arguments) = call.pointer_mut("/function/arguments") {
                parse_arguments(arguments);
            }
        }
        if let Some(reasoning) = REASONING.iter().find_map(|name| fields.get(*name)).cloned() {
            fields.entry("thinking").or_insert_with(|| reasoning.clone());
            fields.insert("reasoning_content".into(), reasoning);
        }
        let lacks_content = content.is_none();
        Self { role, content: content.unwrap_or_default(), more: MessageFields { fields, lacks_content } }
    }

    /// The content of a message whose text is in parts: a line for each, as in vLLM and TensorRT-LLM.
    pub(crate) fn join_parts(parts: &[String]) -> String {
        parts.join("\n")
    }

    /// Whether it has nothing but a role and a content.
    pub fn is_plain(&self) -> bool {
        self.more == MessageFields::default()
    }

    /// The message as JSON.
    pub(crate) fn as_json(&self) -> Value {
        self.to_json(|text, _| text.to_owned())
    }

    /// Bytes of the texts of `messages`, those of further fields such as `tool_calls` included.
    pub(crate) fn total_bytes(messages: &[Self]) -> usize {
        let mut bytes = 0;
        for Self { content, more, .. } in messages {
            bytes += content.len();
            bytes += more.fields.iter().map(|(name, value)| name.len() + size(value)).sum::<usize>();
        }
        bytes
    }

    /// The message as JSON, with what `change` makes of each text that a client may write freely, given whether it is
    /// the content.
    pub(crate) fn to_json(&self, mut change: impl FnMut(&str, bool) -> String) -> Value {
        let mut message = Map::new();
        let role = if is_word(&self.role) { self.role.clone() } else { change(&self.role, false) };
        message.insert("role".into(), role.into());
        if !self.more.lacks_content {
            message.insert("content".into(), change(&self.content, true).into());
        }
        for (name, value) in &self.more.fields {
            let name = if is_word(name) { name.clone() } else { change(name, false) };
            message.insert(name, changed(value, &mut |text| change(text, false)));
        }
        message.into()
    }

    /// Shows `see` each text that a client may write freely, and whether it is the content.
    pub(super) fn each_text(&self, mut see: impl FnMut(&str, bool)) {
        self.to_json(|text, is_content| {
            see(text, is_content);
            String::new()
        });
    }
}

/// Whether a role or a field's name is a plain word, which templates compare and may build their own tokens of.
fn is_word(text: &str) -> bool {
    text.chars().all(|c| c.is_ascii_alphanumeric() || c == '_' || c == '-')
}

/// A value with what `change` makes of each text in it, but not of names that are plain words.
pub(super) fn changed(value: &Value, change: &mut impl FnMut(&str) -> String) -> Value {
    match value {
        Value::String(text) => change(text).into(),
        Value::Array(items) => items.iter().map(|item| changed(item, change)).collect(),
        Value::Object(fields) => {
            let fields = fields.iter().map(|(name, value)| {
                let name = if is_word(name) { name.clone() } else { change(name) };
                (name, changed(value, change))
            });
            Value::Object(fields.collect())
        }
        other => other.clone(),
    }
}

/// OpenAI sends arguments as JSON in a text; templates want the object, as vLLM gives it to them.
fn parse_arguments(arguments: &mut Value) {
    let Value::String(text) = arguments else { return };
    let parsed = if text.trim().is_empty() { Ok(Map::new()) } else { serde_json::from_str(text) };
    if let Ok(parsed) = parsed {
        *arguments = Value::Object(parsed);
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn fields(value: &Value) -> Map<String, Value> {
        value.as_object().unwrap().clone()
    }

    #[test]
    fn fields_are_those_that_templates_expect() {
        let given = json!({"name": "Ann", "refusal": null, "reasoning": "so", "tool_calls": [
            {"type": "function", "function": {"name": "f", "arguments": "{\"b\": 1, \"a\": [2]}"}},
            {"type": "function", "function": {"name": "g", "arguments": "not JSON"}},
            {"type": "function", "function": {"name": "h", "arguments": {"x": 1}}}]});
        let message = Message::with_fields("assistant".into(), None, fields(&given));
        let json = message.as_json();
        assert!(json.get("content").is_none() && json.get("refusal").is_none());
        assert_eq!(json["tool_calls"][0]["function"]["arguments"].to_string(), r#"{"b":1,"a":[2]}"#);
        assert_eq!(json["tool_calls"][1]["function"]["arguments"], "not JSON");
        assert_eq!(json["tool_calls"][2]["function"]["arguments"], json!({"x": 1}));
        assert_eq!((&json["thinking"], &json["reasoning_content"]), (&json!("so"), &json!("so")));
        let empty = Message::with_fields("user".into(), Some("a".into()), fields(&json!({"tool_calls": []})));
        assert!(empty.is_plain());
    }

    #[test]
    fn every_text_is_visited_but_names_that_are_plain_words() {
        let given = json!({"name": "Ann <b>", "x y": {"k": ["v", 1], "<k>": true}});
        let message = Message::with_fields("judge <r>".into(), Some("hi".into()), fields(&given));
        let mut seen = Vec::new();
        message.each_text(|text, is_content| seen.push((text.to_owned(), is_content)));
        let texts: Vec<_> = seen.iter().map(|(text, _)| text.as_str()).collect();
        assert_eq!(texts, ["judge <r>", "hi", "Ann <b>", "x y", "v", "<k>"]);
        assert_eq!(seen.iter().filter(|(_, is_content)| *is_content).count(), 1);
    }
}
