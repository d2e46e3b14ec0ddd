//! A prompt and a list of responses.

use serde_json::Value;

use super::names::{self, GROUPS};
use super::view::RowView;
use super::{Form, Found, Holds};

/// The answers of OpenAI's chat completions.
const CHOICES: &str = "choices";

pub(super) static RESPONSES: Form = Form {
    name: "responses",
    data_sets: &["best-of-n samples", "OpenAI chat, choices"],
    columns: "a prompt, and `responses`, `completions`, `answers` or `outputs`, `choices` with `message`, or texts in `response` or `output`",
    holds: Holds::Group,
    fits: |view| {
        // A column called `completions` may hold one text, unless the command line names it.
        let one_column = view.options.names.responses_columns().len() < 2;
        one_column && view.prompt_column().is_some() && column(view).is_some()
    },
    read: |view| {
        let prompt = match view.prompt_column() {
            Some(column) => view.prompt(column)?,
            None => view.no_prompt()?,
        };
        let column = column(view).unwrap_or(GROUPS[0]);
        let items = view.list(column)?.into_iter();
        let mut candidates: Vec<_> = items.map(|item| view.answered(&prompt, item, column)).collect();
        view.check_same_prompt(&prompt, &mut candidates);
        Ok(Found::group(candidates, &[column]))
    },
    repeated: &[],
    example: r#"{"prompt": "q", "responses": ["a", "b"]}"#,
};

fn column<'a>(view: &'a RowView) -> Option<&'a str> {
    let named = view.options.names.responses();
    if named.is_some() {
        return view.column(named, &GROUPS);
    }
    let usual = view.column(None, &GROUPS).filter(|column| view.peek_items(column).is_some());
    usual.or_else(|| list_in_other_column(view))
}

/// A column with another name that holds several responses.
fn list_in_other_column(view: &RowView) -> Option<&'static str> {
    let prompt = view.prompt_column();
    match names::RESPONSES.into_iter().find(|name| view.has(name) && Some(*name) != prompt) {
        Some(response) => is_list_of(view, response, Value::is_string).then_some(response),
        // The options of a question are called `choices`, too.
        None => is_list_of(view, CHOICES, Value::is_object).then_some(CHOICES),
    }
}

/// Whether a column holds a list whose first item is of this kind.
fn is_list_of(view: &RowView, name: &str, kind: fn(&Value) -> bool) -> bool {
    let list = view.peek(name);
    list.is_some_and(|list| list.as_array().and_then(|items| items.first()).is_some_and(kind))
}
