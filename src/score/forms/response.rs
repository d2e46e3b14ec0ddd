//! A prompt and one response.

use super::super::ConversationError;
use super::names::RESPONSES;
use super::view::RowView;
use super::{Form, Found, Holds};

pub(super) static RESPONSE: Form = Form {
    name: "response",
    data_sets: &[
        "HelpSteer, HelpSteer2",
        "Alpaca, LLaMA-Factory (Alpaca)",
        "ms-swift, query and response",
        "TRL, prompt-completion and unpaired preference",
        "UltraInteract, SFT",
        "OpenOrca",
        "distilabel, one generation",
        "MATH, NuminaMath",
    ],
    columns: "a prompt, and `response`, `completion`, `solution`, `answer`, `output` or `generation`",
    holds: Holds::One,
    fits: |view| view.prompt_column().is_some() && column(view).is_some(),
    read: |view| {
        let prompt = match view.prompt_column() {
            Some(column) => view.prompt(column)?,
            None => return Err(ConversationError::Missing("prompt".into())),
        };
        let column = column(view).ok_or_else(|| ConversationError::Missing("response".into()))?;
        Ok(Found::from_one(view.candidate(&prompt, column), &[column]))
    },
    repeated: &["messages"],
    example: r#"{"prompt": "q", "response": "a", "helpfulness": 3}"#,
};

fn column<'a>(view: &'a RowView) -> Option<&'a str> {
    let prompt = view.prompt_column();
    let named = view.options.names.response();
    view.column(named, &RESPONSES).filter(|column| Some(*column) != prompt)
}
