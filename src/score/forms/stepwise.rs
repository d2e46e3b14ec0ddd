//! TRL's stepwise supervision: the completions are steps of one response, not rivals.

use super::view::number;
use super::{Form, Found, Holds};

pub(super) static STEPWISE: Form = Form {
    name: "stepwise",
    data_sets: &["TRL, stepwise supervision", "trl-lib/math_shepherd, trl-lib/prm800k"],
    columns: "`prompt`, `completions`, `labels`",
    holds: Holds::Steps,
    fits: |view| {
        let [completions, labels] = ["completions", "labels"].map(|column| view.peek_items(column));
        view.has("prompt")
            && completions.zip(labels).is_some_and(|(steps, labels)| steps.len() == labels.len())
    },
    read: |view| {
        let prompt = view.prompt("prompt")?;
        let candidate = view.steps(&prompt, &view.texts("completions")?, "completions")?;
        let labels = view.list("labels")?;
        let wrong = labels.iter().position(|label| number(label) == Some(0.0));
        let first_error = Some(wrong.map_or(-1, |index| index as i64));
        Ok(Found { first_error, ..Found::from_one(candidate, &["completions"]) })
    },
    repeated: &[],
    example: r#"{"prompt": "q", "completions": ["a", "b"], "labels": [true, false]}"#,
};
