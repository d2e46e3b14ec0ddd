//! Prometheus' collections, in which `instruction` and `output` are what a judge reads and writes.

use super::response_columns::read_series;
use super::{Form, Found, Holds};

pub(super) static PREFERENCE: Form = Form {
    name: "prometheus-preference",
    data_sets: &["Preference Collection, Preference Bench (Prometheus)"],
    columns: "`orig_instruction`, `orig_response_A`, `orig_response_B`, `orig_preference`",
    holds: Holds::Group,
    fits: |view| view.has_all(&["orig_instruction", "orig_response_A", "orig_response_B"]),
    read: |view| {
        let preference = match view.text("orig_preference").as_deref() {
            Some("A") => Some(1.0),
            Some("B") => Some(-1.0),
            _ => None,
        };
        read_series(view, "orig_instruction", ["orig_response_A", "orig_response_B"], preference)
    },
    repeated: &["instruction", "output", "input", "messages"],
    example: r#"{"instruction": "judge", "output": "feedback", "orig_instruction": "q", "orig_response_A": "a", "orig_response_B": "b", "orig_preference": "A"}"#,
};

pub(super) static FEEDBACK: Form = Form {
    name: "prometheus-feedback",
    data_sets: &["Feedback Collection, Feedback Bench (Prometheus)"],
    columns: "`orig_instruction`, `orig_response`, `orig_score`",
    holds: Holds::One,
    fits: |view| view.has_all(&["orig_instruction", "orig_response", "orig_score"]),
    read: |view| {
        let prompt = view.prompt("orig_instruction")?;
        Ok(Found::from_one(view.candidate(&prompt, "orig_response"), &["orig_response"]))
    },
    repeated: &["instruction", "output", "input", "messages"],
    example: r#"{"instruction": "judge", "output": "feedback", "orig_instruction": "q", "orig_response": "a", "orig_score": "3"}"#,
};
