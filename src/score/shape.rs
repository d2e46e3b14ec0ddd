//! How the rows of a file hold conversations.

use serde_json::Value;

use super::conversation::{Conversation, list, parse_answered, parse_messages, parse_prompt};
use super::{ConversationError, Row, ScoreError};

/// Usual names of the prompt column, the most specific first.
const PROMPTS: [&str; 4] = ["prompt", "instruction", "question", "messages"];
/// Usual names of a column with one response.
const RESPONSES: [&str; 4] = ["response", "completion", "answer", "output"];
/// Usual names of a column with several responses.
const GROUPS: [&str; 2] = ["responses", "completions"];

/// Column names from the command line.
#[derive(Clone, Debug, Default, PartialEq, Eq, clap::Args)]
pub struct ColumnNames {
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
    /// Column with the preferred response of a pair [default: chosen]
    #[arg(long, value_name = "COLUMN")]
    pub chosen_column: Option<String>,
    /// Column with the other response of a pair [default: rejected]
    #[arg(long, value_name = "COLUMN")]
    pub rejected_column: Option<String>,
}

/// How rows hold conversations, and in which columns.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RowShape {
    /// A whole conversation.
    Messages {
        /// Column of the conversation.
        messages: String,
    },
    /// A prompt and one response.
    Single {
        /// Column of the prompt.
        prompt: String,
        /// Column of the response.
        response: String,
    },
    /// A prompt and a list of responses.
    Group {
        /// Column of the prompt.
        prompt: String,
        /// Column of the list.
        responses: String,
    },
    /// A preferred response and another one.
    Pair {
        /// Column of the prompt; `None` if both responses contain it.
        prompt: Option<String>,
        /// Column of the preferred response.
        chosen: String,
        /// Column of the other response.
        rejected: String,
    },
}

impl std::fmt::Display for RowShape {
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

impl RowShape {
    /// Detects the shape of a row from its columns.
    ///
    /// # Errors
    /// [`ScoreError::NoConversations`].
    pub fn detect(row: &Row, names: &ColumnNames) -> Result<Self, ScoreError> {
        let prompt = find_column(row, names.prompt_column.as_ref(), &PROMPTS);
        let chosen = find_column(row, names.chosen_column.as_ref(), &["chosen"]);
        let rejected = find_column(row, names.rejected_column.as_ref(), &["rejected"]);
        if let (Some(chosen), Some(rejected)) = (chosen, rejected) {
            return Ok(Self::Pair { prompt, chosen, rejected });
        }
        let responses = find_column(row, names.responses_column.as_ref(), &GROUPS);
        if let (Some(prompt), Some(responses)) = (&prompt, responses) {
            // A column called `completions` may hold one text, unless the command line names it.
            if names.responses_column.is_some() || list(&row[&responses]).is_some() {
                return Ok(Self::Group { prompt: prompt.clone(), responses });
            }
        }
        let response = find_column(row, names.response_column.as_ref(), &RESPONSES);
        if let (Some(prompt), Some(response)) = (prompt, response) {
            return Ok(Self::Single { prompt, response });
        }
        if let Some(messages) = find_column(row, names.messages_column.as_ref(), &["messages"]) {
            return Ok(Self::Messages { messages });
        }
        Err(ScoreError::NoConversations(row.keys().cloned().collect()))
    }

    /// The conversations of a row, in their order. An error inside the list concerns one of them.
    ///
    /// # Errors
    /// The row holds no conversation at all.
    pub fn conversations(
        &self,
        row: &Row,
    ) -> Result<Vec<Result<Conversation, ConversationError>>, ConversationError> {
        match self {
            Self::Messages { messages } => Ok(vec![Ok(parse_messages(column(row, messages)?, messages)?)]),
            Self::Single { prompt, response } => {
                let start = parse_prompt(column(row, prompt)?, prompt)?;
                Ok(vec![Ok(parse_answered(&start, column(row, response)?, response)?)])
            }
            Self::Group { prompt, responses } => {
                let start = parse_prompt(column(row, prompt)?, prompt)?;
                let found = list(column(row, responses)?)
                    .ok_or_else(|| ConversationError::NotAList(responses.clone()))?;
                if found.is_empty() {
                    return Err(ConversationError::Empty(responses.clone()));
                }
                Ok(found.iter().map(|response| parse_answered(&start, response, responses)).collect())
            }
            Self::Pair { prompt, chosen, rejected } => {
                let start = match prompt {
                    Some(prompt) => parse_prompt(column(row, prompt)?, prompt)?,
                    None => Vec::new(),
                };
                let side = |name: &str| parse_answered(&start, column(row, name)?, name);
                Ok(vec![side(chosen), side(rejected)])
            }
        }
    }

    /// Prefix of an error of the response at `index`, which tells it from the others of its row.
    pub(super) fn error_prefix(&self, index: usize, responses: usize) -> String {
        match self {
            Self::Messages { .. } | Self::Single { .. } => String::new(),
            Self::Group { .. } => format!("response {} of {responses}: ", index + 1),
            Self::Pair { .. } => ["chosen: ", "rejected: "][index.min(1)].into(),
        }
    }

    /// The responses of a group, as the row holds them; `None` for other shapes.
    pub fn responses<'a>(&self, row: &'a Row) -> Option<std::borrow::Cow<'a, [Value]>> {
        match self {
            Self::Group { responses, .. } => list(row.get(responses)?),
            _ => None,
        }
    }
}

/// The column `named` on the command line, or else the first of the usual ones that the row has.
fn find_column(row: &Row, named: Option<&String>, usual: &[&str]) -> Option<String> {
    match named {
        Some(name) => row.contains_key(name).then(|| name.clone()),
        None => usual.iter().find(|name| row.contains_key(**name)).map(|name| (*name).to_owned()),
    }
}

fn column<'a>(row: &'a Row, name: &str) -> Result<&'a Value, ConversationError> {
    let value = row.get(name).filter(|value| !value.is_null());
    value.ok_or_else(|| ConversationError::Missing(name.to_owned()))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::prompt::Message;

    /// Role and content of each turn of each conversation in a row.
    fn found(row: &Value) -> Vec<Vec<(String, String)>> {
        let row = row.as_object().unwrap().clone();
        let shape = RowShape::detect(&row, &ColumnNames::default()).unwrap();
        let turn = |message: Message| (message.role, message.content);
        let conversations = shape.conversations(&row).unwrap().into_iter().map(Result::unwrap);
        conversations.map(|turns| turns.into_iter().map(turn).collect()).collect()
    }

    fn turn(role: &str, content: &str) -> (String, String) {
        (role.into(), content.into())
    }

    #[test]
    fn common_data_sets_are_understood() {
        let expected = || vec![turn("user", "q"), turn("assistant", "a")];
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
            assert_eq!(found(&row), [expected()], "{row}");
        }
    }

    #[test]
    fn a_text_that_looks_like_a_list_is_a_text() {
        for text in ["[1, 2, 3]", "[]", "[not JSON", "[{\"role\": \"x\"}]"] {
            assert_eq!(
                found(&json!({"prompt": text, "response": text})),
                [vec![turn("user", text), turn("assistant", text)]]
            );
        }
    }

    #[test]
    fn a_response_of_several_turns_follows_its_prompt() {
        let answer = json!([{"role": "assistant", "content": "a"}, {"role": "user", "content": "r"},
                            {"role": "assistant", "content": "b"}]);
        let expected = [turn("user", "q"), turn("assistant", "a"), turn("user", "r"), turn("assistant", "b")];
        assert_eq!(found(&json!({"prompt": "q", "completion": answer})), [expected.to_vec()]);
        let row = json!({"prompt": "q", "response": []}).as_object().unwrap().clone();
        let shape = RowShape::detect(&row, &ColumnNames::default()).unwrap();
        assert_eq!(shape.conversations(&row), Err(ConversationError::Empty("response".into())));
    }

    #[test]
    fn pairs_may_contain_their_prompt_or_share_one() {
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
            assert_eq!(found(&row), pair, "{row}");
        }
    }

    #[test]
    fn an_unusable_response_does_not_affect_the_others_of_its_row() {
        let errors = |row: Value| {
            let row = row.as_object().unwrap().clone();
            let shape = RowShape::detect(&row, &ColumnNames::default()).unwrap();
            let found = shape.conversations(&row).unwrap().into_iter();
            found
                .map(|found| found.map_or_else(|error| error.to_string(), |_| String::new()))
                .collect::<Vec<_>>()
        };
        let neither = "`responses` is neither text nor a list of messages";
        assert_eq!(errors(json!({"prompt": "q", "responses": ["a", 7, "b"]})), ["", neither, ""]);
        let missing = "the row has no `rejected`";
        assert_eq!(errors(json!({"prompt": "q", "chosen": "a", "rejected": null})), ["", missing]);
    }

    #[test]
    fn missing_columns_are_named() {
        let row = |value: Value| value.as_object().unwrap().clone();
        let unknown = RowShape::detect(&row(json!({"id": 1, "text": "x"})), &ColumnNames::default());
        let unknown = unknown.unwrap_err().to_string();
        assert!(unknown.contains("id, text") && unknown.contains("--prompt-column"), "{unknown}");
        let shape =
            RowShape::detect(&row(json!({"prompt": "q", "response": "a"})), &ColumnNames::default()).unwrap();
        assert_eq!(
            shape.conversations(&row(json!({"prompt": "q"}))),
            Err(ConversationError::Missing("response".into()))
        );
        let names = ColumnNames {
            response_column: Some("text".into()),
            prompt_column: Some("id".into()),
            ..ColumnNames::default()
        };
        assert!(RowShape::detect(&row(json!({"id": "q", "text": "x"})), &names).is_ok());
    }
}
