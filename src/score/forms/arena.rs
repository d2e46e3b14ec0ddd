//! Votes of the Chatbot Arena, and of MT-Bench's judges.

use serde_json::Value;

use super::super::ConversationError;
use super::super::conversation::{list, turn};
use super::found::Candidate;
use super::response_columns::{series, winner};
use super::view::RowView;
use super::{Form, Found, Holds};

pub(super) static CONVERSATIONS: Form = Form {
    name: "arena-conversations",
    data_sets: &[
        "Chatbot Arena conversations",
        "Arena human preference 100k, 140k",
        "Search Arena 24k",
        "MT-Bench human judgments",
    ],
    columns: "`conversation_a` and `conversation_b`, or `messages_a` and `messages_b`; `winner`",
    holds: Holds::Group,
    fits: |view| columns(view).is_some(),
    read: |view| {
        let columns = columns(view).ok_or_else(|| ConversationError::Missing("conversation_a".into()))?;
        let mut candidates = Vec::new();
        for column in columns {
            let response = view.peek(column).unwrap_or_default();
            candidates.push(match view.conversation(column) {
                Ok(candidate) => candidate,
                Err(error) => Candidate { turns: Err(error), response },
            });
        }
        Ok(Found::group(candidates, &columns).preferred(winner(view)))
    },
    repeated: &["full_conversation"],
    example: r#"{"question_id": "x", "model_a": "m", "model_b": "n", "winner": "model_a", "conversation_a": [{"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}], "conversation_b": [{"role": "user", "content": "q"}, {"role": "assistant", "content": "b"}]}"#,
};

/// The columns of both conversations.
fn columns(view: &RowView) -> Option<[&'static str; 2]> {
    let pairs = [["conversation_a", "conversation_b"], ["messages_a", "messages_b"]];
    pairs.into_iter().find(|pair| view.has_all(pair))
}

pub(super) static RESPONSES: Form = Form {
    name: "arena-responses",
    data_sets: &["Arena human preference 55k"],
    columns: "`prompt`, `response_a`, `response_b`, `winner_model_a`, `winner_model_b`",
    holds: Holds::Group,
    fits: |view| view.has_all(&["prompt", "response_a", "response_b"]),
    read: |view| {
        let columns = series(view, ["response_a", "response_b"]);
        let columns: Vec<&str> = columns.iter().map(String::as_str).collect();
        let mut candidates = Vec::new();
        for &column in &columns {
            candidates.push(Candidate {
                turns: exchanges(view, column),
                response: view.peek(column).unwrap_or_default(),
            });
        }
        let won = |model: &str| view.number(model).filter(|won| [0.0, 1.0].contains(won));
        let preference = won("winner_model_a").zip(won("winner_model_b")).map(|(a, b)| a - b);
        let preference = preference.filter(|_| columns.len() == 2);
        Ok(Found::group(candidates, &columns).preferred(preference))
    },
    repeated: &[],
    example: r#"{"id": 30192, "model_a": "m", "model_b": "n", "prompt": "[\"q\"]", "response_a": "[\"a\"]", "response_b": "[\"b\"]", "winner_model_a": 1, "winner_model_b": 0, "winner_tie": 0}"#,
};

/// A conversation of the user's turns in `prompt` and the model's in `column`, each a list in a text, or one text.
fn exchanges(view: &RowView, column: &str) -> Result<Vec<crate::prompt::Message>, ConversationError> {
    let (prompt, response) = (view.value("prompt")?, view.value(column)?);
    // Beside one text, a response that spells a list is one text, too.
    let (questions, answers): (Vec<String>, Vec<String>) = match list(&prompt) {
        None => (vec![text_of(&prompt, "prompt")?], vec![text_of(&response, column)?]),
        Some(questions) => {
            let answers = match list(&response) {
                Some(answers) => texts_of(&answers, column)?,
                None => vec![text_of(&response, column)?],
            };
            (texts_of(&questions, "prompt")?, answers)
        }
    };
    if questions.len() != answers.len() {
        return Err(ConversationError::Turns(column.to_owned()));
    }
    let mut turns = Vec::new();
    for (question, answer) in questions.iter().zip(&answers) {
        turns.extend([turn("user", question), turn("assistant", answer)]);
    }
    view.finish(turns, None, column)
}

fn texts_of(items: &[Value], column: &str) -> Result<Vec<String>, ConversationError> {
    items.iter().map(|item| text_of(item, column)).collect()
}

/// A text; a missing one is empty there.
fn text_of(value: &Value, column: &str) -> Result<String, ConversationError> {
    match value {
        Value::String(text) => Ok(text.clone()),
        Value::Null => Ok(String::new()),
        _ => Err(ConversationError::NotTexts(column.to_owned())),
    }
}
