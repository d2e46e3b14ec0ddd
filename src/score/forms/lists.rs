//! Benchmarks with several chosen and several rejected responses to one prompt.

use serde_json::Value;

use super::view::RowView;
use super::{Form, Found, Holds};

pub(super) static LISTS: Form = Form {
    name: "lists",
    data_sets: &["RewardBench 2", "RM-Bench"],
    columns: "`prompt`, and lists of texts in `chosen` and `rejected`",
    holds: Holds::Lists,
    fits: |view| {
        let [chosen, rejected] = columns(view);
        view.prompt_column().is_some()
            && [chosen, rejected].into_iter().all(|column| holds_texts(view, column))
    },
    read: |view| {
        let prompt = match view.prompt_column() {
            Some(column) => view.prompt(column)?,
            None => view.no_prompt()?,
        };
        let [chosen, rejected] = columns(view).map(|column| column.unwrap_or_default());
        let mut candidates = Vec::new();
        for item in view.list(chosen)? {
            candidates.push(view.answered(&prompt, item, chosen));
        }
        let count = candidates.len();
        for item in view.list(rejected)? {
            candidates.push(view.answered(&prompt, item, rejected));
        }
        Ok(Found { chosen: count, ..Found::group(candidates, &[chosen, rejected]) })
    },
    repeated: &[],
    example: r#"{"id": "0", "prompt": "q", "chosen": ["a", "c", "e"], "rejected": ["b", "d", "f"], "subset": "Factuality"}"#,
};

fn columns<'a>(view: &'a RowView) -> [Option<&'a str>; 2] {
    let names = &view.options.names;
    [view.column(names.chosen(), &["chosen"]), view.column(names.rejected(), &["rejected"])]
}

/// Whether a column is a list of texts, and not of messages.
fn holds_texts(view: &RowView, column: Option<&str>) -> bool {
    let items = column.and_then(|column| view.peek_items(column));
    items.is_some_and(|items| items.first().is_some_and(Value::is_string))
}
