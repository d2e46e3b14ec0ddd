//! A prompt and a list of responses.

use super::names::GROUPS;
use super::view::RowView;
use super::{Form, Found, Holds};

pub(super) static RESPONSES: Form = Form {
    name: "responses",
    data_sets: &["best-of-n samples"],
    columns: "a prompt, and `responses`, `completions`, `answers` or `outputs`",
    holds: Holds::Group,
    fits: |view| {
        let named = view.options.names.responses();
        // A column called `completions` may hold one text, unless the command line names it.
        let is_list = |column: &str| view.peek_items(column).is_some();
        view.prompt_column().is_some()
            && column(view).is_some_and(|column| named.is_some() || is_list(column))
    },
    read: |view| {
        let prompt = match view.prompt_column() {
            Some(column) => view.prompt(column)?,
            None => view.no_prompt()?,
        };
        let column = column(view).unwrap_or(GROUPS[0]);
        let candidates = view.list(column)?.into_iter().map(|item| view.answered(&prompt, item, column));
        Ok(Found::group(candidates.collect(), &[column]))
    },
    repeated: &[],
    example: r#"{"prompt": "q", "responses": ["a", "b"]}"#,
};

fn column<'a>(view: &'a RowView) -> Option<&'a str> {
    view.column(view.options.names.responses(), &GROUPS)
}
