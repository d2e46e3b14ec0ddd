//! Argilla's pairs, in columns of their own names.

use super::{Form, Found, Holds};

pub(super) static ARGILLA: Form = Form {
    name: "argilla-pair",
    data_sets: &["UltraFeedback binarized preferences (Argilla)"],
    columns: "`instruction` or `prompt`, `chosen_response`, `rejected_response`",
    holds: Holds::Pair,
    fits: |view| view.has_all(&["chosen_response", "rejected_response"]) && view.prompt_column().is_some(),
    read: |view| {
        let prompt = match view.prompt_column() {
            Some(column) => view.prompt(column)?,
            None => view.no_prompt()?,
        };
        let columns = ["chosen_response", "rejected_response"];
        let mut candidates = columns.map(|column| view.candidate(&prompt, column));
        view.check_same_prompt(&prompt, &mut candidates);
        let [chosen, rejected] = candidates;
        Ok(Found::pair(chosen, rejected, columns))
    },
    repeated: &[],
    example: r#"{"source": "evol_instruct", "instruction": "q", "chosen_response": "a", "rejected_response": "b", "chosen_avg_rating": 5.0, "rejected_avg_rating": 2.5}"#,
};
