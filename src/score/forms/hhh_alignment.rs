//! Choices of BIG-bench's task on alignment.

use super::view::number;
use super::{Form, Found, Holds};

pub(super) static HHH_ALIGNMENT: Form = Form {
    name: "hhh-alignment",
    data_sets: &["HHH alignment"],
    columns: "`input`, `targets.choices`, `targets.labels`",
    holds: Holds::Group,
    fits: |view| view.has_all(&["input", "targets.choices", "targets.labels"]),
    read: |view| {
        let prompt = view.prompt("input")?;
        let choices = view.list("targets.choices")?;
        let labels: Vec<_> = view.list("targets.labels")?.iter().map(number).collect();
        let count = choices.len();
        let candidates =
            choices.into_iter().map(|choice| view.answered(&prompt, choice, "targets.choices")).collect();
        let found = Found::group(candidates, &["targets"]);
        Ok(if labels.len() == count { found.rated(labels) } else { found })
    },
    repeated: &[],
    example: r#"{"input": "q", "targets": {"choices": ["a", "b"], "labels": [1, 0]}}"#,
};
