//! Tries a chat template on conversations, so that what it cannot render is known when the engine is built.

use std::path::Path;

use serde_json::{Value, json};

use super::BuildError;
use crate::prompt::{EncodeOptions, Encoder, Message, PromptError};

/// A conversation to try.
struct Trial {
    /// What it is: "the chat template fails on ...".
    title: &'static str,
    messages: Value,
    add_generation_prompt: bool,
    /// Whether the build fails if the template does. Many models never see tools or names.
    required: bool,
}

/// Renders conversations of several kinds. Returns lines about those that the template refuses in its own words, or
/// fails on although a model may do without them.
///
/// # Errors
/// The template fails, gives nothing or does not end, on a conversation that every model has.
pub(super) fn run(encoder: &Encoder, path: &Path) -> Result<Vec<String>, BuildError> {
    let mut notes = Vec::new();
    for trial in trials() {
        let messages = messages(&trial.messages);
        let options =
            EncodeOptions { add_generation_prompt: trial.add_generation_prompt, ..EncodeOptions::default() };
        match encoder.encode(&messages, options) {
            Ok(_) => {}
            Err(PromptError::Refused(reason)) => {
                notes.push(format!("the chat template refuses {}: {reason}", trial.title));
            }
            Err(error) if trial.required => {
                let reason = format!("the chat template fails on {}: {error}", trial.title);
                return Err(BuildError::checkpoint(path, reason));
            }
            Err(error) => notes.push(format!("the chat template fails on {}: {error}", trial.title)),
        }
    }
    Ok(notes)
}

fn messages(list: &Value) -> Vec<Message> {
    let mut messages = Vec::new();
    for message in list.as_array().into_iter().flatten() {
        let mut fields = message.as_object().cloned().unwrap_or_default();
        let role = fields.remove("role").and_then(|role| role.as_str().map(str::to_owned));
        let content = fields.remove("content").and_then(|content| content.as_str().map(str::to_owned));
        messages.push(Message::with_fields(role.unwrap_or_default(), content, fields));
    }
    messages
}

fn trials() -> Vec<Trial> {
    let user = json!({"role": "user", "content": "What is 2 + 3?"});
    let answer = json!({"role": "assistant", "content": "It is 5."});
    let system = json!({"role": "system", "content": "Be brief."});
    let call = json!({"role": "assistant", "content": null, "tool_calls": [{"id": "call00001", "type": "function",
        "function": {"name": "add", "arguments": {"a": 2, "b": 3}}}]});
    let result = json!({"role": "tool", "name": "add", "tool_call_id": "call00001", "content": "5"});
    let thought = json!({"role": "assistant", "content": "<think>\nTwo and three.\n</think>\n\nIt is 5."});
    let reasoned = json!({"role": "assistant", "content": "It is 5.", "reasoning_content": "Two and three."});
    let named = json!({"role": "user", "name": "Ann", "content": "What is 2 + 3?"});
    let trial = |title, messages, required| Trial { title, messages, add_generation_prompt: false, required };
    vec![
        trial("a question and its answer", json!([user, answer]), true),
        trial("two questions and their answers", json!([user, answer, user, answer]), true),
        Trial { add_generation_prompt: true, ..trial("a question without an answer", json!([user]), false) },
        trial("a system turn", json!([system, user, answer]), false),
        trial("an answer with its reasoning in the text", json!([user, thought, user, thought]), false),
        trial("an answer with `reasoning_content`", json!([user, reasoned, user, reasoned]), false),
        trial("a tool's answer", json!([user, call, result, answer]), false),
        trial("a user with a name", json!([named, answer]), false),
    ]
}
