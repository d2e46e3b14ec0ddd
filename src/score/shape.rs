//! Which conversations a row holds.

use serde_json::Value;

use super::{Row, ScoreError};
use crate::prompt::Message;

/// Names that the column of the prompt goes by, the most telling first.
const PROMPTS: [&str; 4] = ["prompt", "instruction", "question", "messages"];
/// Names of a column with one response.
const RESPONSES: [&str; 4] = ["response", "completion", "answer", "output"];
/// Names of a column with several.
const GROUPS: [&str; 2] = ["responses", "completions"];

/// What the columns are called, where flags say so.
#[derive(Clone, Debug, Default, PartialEq, Eq, clap::Args)]
pub struct Names {
    /// Column with the prompt: text or messages [default: prompt, instruction, question or messages]
    #[arg(long, value_name = "COLUMN")]
    pub prompt_column: Option<String>,
    /// Column with one response [default: response, completion, answer or output]
    #[arg(long, value_name = "COLUMN")]
    pub response_column: Option<String>,
    /// Column with a list of responses [default: responses or completions]
    #[arg(long, value_name = "COLUMN")]
    pub responses_column: Option<String>,
    /// Column with whole conversations [default: messages]
    #[arg(long, value_name = "COLUMN")]
    pub messages_column: Option<String>,
    /// Column with the response that was preferred [default: chosen]
    #[arg(long, value_name = "COLUMN")]
    pub chosen_column: Option<String>,
    /// Column with the one that was not [default: rejected]
    #[arg(long, value_name = "COLUMN")]
    pub rejected_column: Option<String>,
}

/// How rows hold conversations, and in which columns.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Shape {
    /// A whole conversation.
    Messages {
        /// Its column.
        messages: String,
    },
    /// A prompt and one response.
    Single {
        /// Column of the prompt.
        prompt: String,
        /// Column of the response.
        response: String,
    },
    /// A prompt and several responses.
    Group {
        /// Column of the prompt.
        prompt: String,
        /// Column of the list.
        responses: String,
    },
    /// A preferred response and another, each with its prompt or with one in a column.
    Pair {
        /// Column of the prompt, where the responses do not hold it.
        prompt: Option<String>,
        /// Column of the preferred one.
        chosen: String,
        /// Column of the other.
        rejected: String,
    },
}

impl std::fmt::Display for Shape {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Messages { messages } => write!(f, "a conversation in `{messages}`"),
            Self::Single { prompt, response } => {
                write!(f, "a prompt in `{prompt}` and a response in `{response}`")
            }
            Self::Group { prompt, responses } => {
                write!(f, "a prompt in `{prompt}` and responses in `{responses}`")
            }
            Self::Pair { prompt: Some(prompt), chosen, rejected } => {
                write!(f, "a prompt in `{prompt}` and a pair in `{chosen}` and `{rejected}`")
            }
            Self::Pair { prompt: None, chosen, rejected } => {
                write!(f, "a pair in `{chosen}` and `{rejected}`")
            }
        }
    }
}

impl Shape {
    /// What a row of these columns is.
    ///
    /// # Errors
    /// None of the shapes; the text lists what the row has and what is looked for.
    pub fn of(row: &Row, names: &Names) -> Result<Self, ScoreError> {
        let find = |named: &Option<String>, usual: &[&str]| match named {
            Some(name) => row.contains_key(name).then(|| name.clone()),
            None => usual.iter().find(|name| row.contains_key(**name)).map(|name| (*name).to_owned()),
        };
        let prompt = || find(&names.prompt_column, &PROMPTS);
        let chosen = find(&names.chosen_column, &["chosen"]);
        if let (Some(chosen), Some(rejected)) = (chosen, find(&names.rejected_column, &["rejected"])) {
            return Ok(Self::Pair { prompt: prompt(), chosen, rejected });
        }
        if let (Some(prompt), Some(responses)) = (prompt(), find(&names.responses_column, &GROUPS)) {
            // OpenAI's and TRL's `completion` aside, a column of this name may hold one text.
            if names.responses_column.is_some() || list(&row[&responses]).is_some() {
                return Ok(Self::Group { prompt, responses });
            }
        }
        if let (Some(prompt), Some(response)) = (prompt(), find(&names.response_column, &RESPONSES)) {
            return Ok(Self::Single { prompt, response });
        }
        if let Some(messages) = find(&names.messages_column, &["messages"]) {
            return Ok(Self::Messages { messages });
        }
        let has: Vec<&str> = row.keys().map(String::as_str).collect();
        Err(ScoreError::Shape(format!(
            "the first row has the columns {}, which hold no conversation that is known: name them with \
             --prompt-column and --response-column (or --responses-column), --messages-column, or \
             --chosen-column and --rejected-column",
            has.join(", ")
        )))
    }

    /// The conversations of a row, or of each why it is none.
    ///
    /// # Errors
    /// The row holds none at all. Each error is a sentence that names the column at fault.
    pub fn conversations(&self, row: &Row) -> Result<Vec<Result<Vec<Message>, String>>, String> {
        match self {
            Self::Messages { messages } => Ok(vec![Ok(conversation(column(row, messages)?, messages)?)]),
            Self::Single { prompt, response } => {
                Ok(vec![Ok(answered(&asked(row, prompt)?, column(row, response)?, response)?)])
            }
            Self::Group { prompt, responses } => {
                let start = asked(row, prompt)?;
                let found = list(column(row, responses)?).ok_or(format!("`{responses}` is no list"))?;
                match found.is_empty() {
                    true => Err(format!("`{responses}` is empty")),
                    false => Ok(found.iter().map(|response| answered(&start, response, responses)).collect()),
                }
            }
            Self::Pair { prompt, chosen, rejected } => {
                let start = match prompt {
                    Some(prompt) => asked(row, prompt)?,
                    None => Vec::new(),
                };
                let side = |name: &String| answered(&start, column(row, name)?, name);
                Ok(vec![side(chosen), side(rejected)])
            }
        }
    }

    /// What is said before the fault of the response at `index`, where there are others in its row.
    pub fn place(&self, index: usize, of: usize) -> String {
        match self {
            Self::Messages { .. } | Self::Single { .. } => String::new(),
            Self::Group { .. } => format!("response {} of {of}: ", index + 1),
            Self::Pair { .. } => ["chosen: ", "rejected: "][index.min(1)].into(),
        }
    }

    /// Responses of a group as the row has them.
    pub fn responses<'a>(&self, row: &'a Row) -> Option<std::borrow::Cow<'a, [Value]>> {
        match self {
            Self::Group { responses, .. } => list(row.get(responses)?),
            _ => None,
        }
    }
}

fn column<'a>(row: &'a Row, name: &str) -> Result<&'a Value, String> {
    row.get(name).filter(|value| !value.is_null()).ok_or_else(|| format!("the row has no `{name}`"))
}

/// A list, also where it is written as JSON in a text, as CSV must have it.
pub(super) fn list(value: &Value) -> Option<std::borrow::Cow<'_, [Value]>> {
    match value {
        Value::Array(list) => Some(list.as_slice().into()),
        Value::String(text) if text.trim_start().starts_with('[') => {
            serde_json::from_str::<Vec<Value>>(text).ok().map(Into::into)
        }
        _ => None,
    }
}

/// Text of one turn, a dialogue in the form of hh-rlhf, or a list of messages.
fn turns(value: &Value, role: &str, name: &str) -> Result<Vec<Message>, String> {
    match value {
        Value::Array(messages) => messages.iter().map(|message| message_of(message, name)).collect(),
        Value::String(text) => Ok(written_messages(text)
            .or_else(|| dialogue(text))
            .unwrap_or_else(|| vec![Message { role: role.into(), content: text.clone() }])),
        _ => Err(format!("`{name}` is neither text nor a list of messages")),
    }
}

/// Messages written as JSON in a text, as CSV must have them. A text that only begins as a list does is
/// a text: responses may well be lists.
fn written_messages(text: &str) -> Option<Vec<Message>> {
    if !text.trim_start().starts_with('[') {
        return None;
    }
    let messages: Vec<Value> = serde_json::from_str(text).ok()?;
    messages.first()?;
    messages.iter().map(|message| message_of(message, "").ok()).collect()
}

/// The turns before a response. An empty `Assistant:` at the end of a dialogue only asks for one.
fn asked(row: &Row, name: &str) -> Result<Vec<Message>, String> {
    let mut turns = turns(column(row, name)?, "user", name)?;
    if turns.len() > 1 && turns.last().is_some_and(|turn| turn.role == "assistant" && turn.content.is_empty())
    {
        turns.pop();
    }
    Ok(turns)
}

fn conversation(value: &Value, name: &str) -> Result<Vec<Message>, String> {
    let turns = turns(value, "assistant", name)?;
    if turns.is_empty() { Err(format!("`{name}` is empty")) } else { Ok(turns) }
}

/// `start` and a response to it. A list of messages that does not begin with the assistant's holds its
/// prompt and stands for itself.
fn answered(start: &[Message], response: &Value, name: &str) -> Result<Vec<Message>, String> {
    let text = response.get("response").or_else(|| response.get("text")).or_else(|| response.get("content"));
    let response = turns(text.unwrap_or(response), "assistant", name)?;
    match response.as_slice() {
        [] => return Err(format!("`{name}` is empty")),
        [first, _, ..] if first.role != "assistant" => return Ok(response),
        _ => {}
    }
    if start.is_empty() {
        return Err(format!("`{name}` holds no prompt, and no column does: name one with --prompt-column"));
    }
    Ok([start, &response].concat())
}

fn message_of(message: &Value, name: &str) -> Result<Message, String> {
    let role = message.get("role").and_then(Value::as_str);
    match (role, message.get("content").and_then(text_of)) {
        (Some(role), Some(content)) => Ok(Message { role: role.into(), content }),
        _ => Err(format!("`{name}` holds a message without a `role` and a `content` of text")),
    }
}

/// Text, or OpenAI's list of parts where all are text.
fn text_of(content: &Value) -> Option<String> {
    match content {
        Value::String(text) => Some(text.clone()),
        Value::Array(parts) => parts.iter().map(|part| part.get("text")?.as_str()).collect(),
        _ => None,
    }
}

/// `\n\nHuman: ...\n\nAssistant: ...`, the form of Anthropic's hh-rlhf.
fn dialogue(text: &str) -> Option<Vec<Message>> {
    const MARKS: [(&str, &str); 2] = [("\n\nHuman:", "user"), ("\n\nAssistant:", "assistant")];
    if !text.starts_with(MARKS[0].0) {
        return None;
    }
    let mut turns = Vec::new();
    let mut rest = text;
    while let Some((mark, role)) = MARKS.into_iter().find(|(mark, _)| rest.starts_with(mark)) {
        rest = &rest[mark.len()..];
        let end = MARKS.iter().filter_map(|(mark, _)| rest.find(mark)).min().unwrap_or(rest.len());
        turns.push(Message { role: role.into(), content: rest[..end].trim().to_owned() });
        rest = &rest[end..];
    }
    Some(turns)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn found(row: Value) -> (Shape, Vec<Vec<(String, String)>>) {
        let row = row.as_object().unwrap().clone();
        let shape = Shape::of(&row, &Names::default()).unwrap();
        let turn = |message: Message| (message.role, message.content);
        let conversations = shape.conversations(&row).unwrap().into_iter().map(Result::unwrap);
        (shape, conversations.map(|turns| turns.into_iter().map(turn).collect()).collect())
    }

    fn turn(role: &str, content: &str) -> (String, String) {
        (role.into(), content.into())
    }

    #[test]
    fn the_files_that_people_have_are_understood() {
        let asked = || vec![turn("user", "q"), turn("assistant", "a")];
        let messages = json!([{"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}]);
        for row in [
            json!({"messages": messages}),
            json!({"prompt": "q", "response": "a", "helpfulness": 3}),
            json!({"instruction": "q", "completions": [{"model": "m", "response": "a"}]}),
            json!({"prompt": [{"role": "user", "content": "q"}], "responses": ["a"]}),
            json!({"question": "q", "answer": "a"}),
            json!({"messages": messages.to_string()}),
            json!({"prompt": "\n\nHuman: q\n\nAssistant:", "response": "a"}),
            json!({"messages": [{"role": "user", "content": [{"type": "text", "text": "q"}]}, messages[1]]}),
        ] {
            assert_eq!(found(row.clone()).1, [asked()], "{row}");
        }
    }

    #[test]
    fn a_text_that_looks_like_a_list_is_a_text() {
        for text in ["[1, 2, 3]", "[]", "[not JSON", "[{\"role\": \"x\"}]"] {
            assert_eq!(
                found(json!({"prompt": text, "response": text})).1,
                [vec![turn("user", text), turn("assistant", text)]]
            );
        }
    }

    #[test]
    fn turns_of_a_response_follow_its_prompt() {
        let answer = json!([{"role": "assistant", "content": "a"}, {"role": "user", "content": "r"},
                            {"role": "assistant", "content": "b"}]);
        let due = [turn("user", "q"), turn("assistant", "a"), turn("user", "r"), turn("assistant", "b")];
        assert_eq!(found(json!({"prompt": "q", "completion": answer})).1, [due.to_vec()]);
        let row = json!({"prompt": "q", "response": []}).as_object().unwrap().clone();
        let shape = Shape::of(&row, &Names::default()).unwrap();
        assert_eq!(shape.conversations(&row), Err("`response` is empty".into()));
    }

    #[test]
    fn pairs_may_hold_their_prompt_or_share_one() {
        let pair = [
            vec![turn("user", "q"), turn("assistant", "a")],
            vec![turn("user", "q"), turn("assistant", "b")],
        ];
        let whole = |answer: &str| json!([{"role": "user", "content": "q"}, {"role": "assistant", "content": answer}]);
        for row in [
            json!({"prompt": "q", "chosen": "a", "rejected": "b", "subset": "s"}),
            json!({"prompt": "q", "chosen": whole("a"), "rejected": whole("b")}),
            json!({"chosen": whole("a"), "rejected": whole("b")}),
            json!({"chosen": "\n\nHuman: q\n\nAssistant: a", "rejected": "\n\nHuman: q\n\nAssistant: b"}),
        ] {
            assert_eq!(found(row.clone()).1, pair, "{row}");
        }
    }

    #[test]
    fn a_response_at_fault_leaves_the_others_of_its_row() {
        let faults = |row: Value| {
            let row = row.as_object().unwrap().clone();
            let shape = Shape::of(&row, &Names::default()).unwrap();
            let found = shape.conversations(&row).unwrap().into_iter();
            found.map(|found| found.err().unwrap_or_default()).collect::<Vec<_>>()
        };
        let neither = "`responses` is neither text nor a list of messages";
        assert_eq!(faults(json!({"prompt": "q", "responses": ["a", 7, "b"]})), ["", neither, ""]);
        let missing = "the row has no `rejected`";
        assert_eq!(faults(json!({"prompt": "q", "chosen": "a", "rejected": null})), ["", missing]);
    }

    #[test]
    fn what_is_missing_is_named() {
        let row = |value: Value| value.as_object().unwrap().clone();
        let unknown =
            Shape::of(&row(json!({"id": 1, "text": "x"})), &Names::default()).unwrap_err().to_string();
        assert!(unknown.contains("id, text") && unknown.contains("--prompt-column"), "{unknown}");
        let shape = Shape::of(&row(json!({"prompt": "q", "response": "a"})), &Names::default()).unwrap();
        assert_eq!(
            shape.conversations(&row(json!({"prompt": "q"}))),
            Err("the row has no `response`".into())
        );
        let names = Names {
            response_column: Some("text".into()),
            prompt_column: Some("id".into()),
            ..Names::default()
        };
        assert!(Shape::of(&row(json!({"id": "q", "text": "x"})), &names).is_ok());
    }
}
