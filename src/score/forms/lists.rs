//! Benchmarks with several chosen and several rejected responses to one prompt.

use serde_json::Value;

use super::super::ConversationError;
use super::view::RowView;
use super::{Form, Found, Holds};

pub(super) static LISTS: Form = Form {
    name: "lists",
    data_sets: &["RewardBench 2", "RM-Bench"],
    columns: "`prompt`, and lists of texts in `chosen` and `rejected`, one of which may be a single text",
    holds: Holds::Lists,
    fits: |view| {
        let [chosen, rejected] = columns(view);
        let is_text = |column: Option<&str>| {
            column.and_then(|column| view.peek(column)).is_some_and(|value| value.is_string())
        };
        let all = [chosen, rejected].into_iter().all(|column| holds_texts(view, column));
        // One response against many: a text that spells a list may be the response.
        let one = (is_text(chosen) && is_list_of_texts(view, rejected))
            || (is_list_of_texts(view, chosen) && is_text(rejected));
        view.prompt_column().is_some() && (all || one)
    },
    read: |view| {
        let prompt = match view.prompt_column() {
            Some(column) => view.prompt(column)?,
            None => view.no_prompt()?,
        };
        let [chosen, rejected] = columns(view).map(|column| column.unwrap_or_default());
        let mut candidates = Vec::new();
        for item in one_or_many(view, chosen)? {
            candidates.push(view.answered(&prompt, item, chosen));
        }
        let count = candidates.len();
        for item in one_or_many(view, rejected)? {
            candidates.push(view.answered(&prompt, item, rejected));
        }
        view.check_same_prompt(&prompt, &mut candidates);
        Ok(Found { chosen: count, ..Found::group(candidates, &[chosen, rejected]) })
    },
    repeated: &[],
    example: r#"{"id": "0", "prompt": "q", "chosen": ["a", "c", "e"], "rejected": ["b", "d", "f"], "subset": "Factuality"}"#,
};

fn columns<'a>(view: &'a RowView) -> [Option<&'a str>; 2] {
    let names = &view.options.names;
    [view.column(names.chosen(), &["chosen"]), view.column(names.rejected(), &["rejected"])]
}

/// The responses of a column, which may hold a single text.
fn one_or_many(view: &RowView, column: &str) -> Result<Vec<Value>, ConversationError> {
    match view.peek(column) {
        Some(Value::String(_)) if view.peek_items(column).is_none() => Ok(vec![view.value(column)?]),
        _ => view.list(column),
    }
}

/// Whether a column holds a list of texts itself, and not a text that spells one.
fn is_list_of_texts(view: &RowView, column: Option<&str>) -> bool {
    column.and_then(|column| view.peek(column)).is_some_and(|value| value.is_array())
        && holds_texts(view, column)
}

/// Whether a column is a list of texts, and not of messages.
fn holds_texts(view: &RowView, column: Option<&str>) -> bool {
    let items = column.and_then(|column| view.peek_items(column));
    items.is_some_and(|items| items.first().is_some_and(Value::is_string))
}
