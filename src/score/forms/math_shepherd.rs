//! Math-Shepherd's solutions, in which a word after each step is replaced by its label.

use super::super::ConversationError;
use super::super::conversation::turn;
use super::view::RowView;
use super::{Form, Found, Holds};

/// The word that ends a step.
const STEP_END: &str = "ки";
/// Start of the first step.
const FIRST_STEP: &str = "Step 1:";

pub(super) static MATH_SHEPHERD: Form = Form {
    name: "math-shepherd",
    data_sets: &["Math-Shepherd"],
    columns: "`input`, `label`, `task`",
    holds: Holds::Steps,
    fits: |view| {
        let text =
            |name| view.peek(name).and_then(|value| value.as_str().map(str::to_owned)).unwrap_or_default();
        text("input").contains(STEP_END) && text("label").contains(['+', '-'])
    },
    read,
    repeated: &[],
    example: r#"{"input": "q Step 1: a ки\nStep 2: b ки", "label": "q Step 1: a +\nStep 2: b -", "task": "GSM8K"}"#,
};

fn read(view: &RowView) -> Result<Found, ConversationError> {
    let input = view.text("input").ok_or_else(|| ConversationError::Missing("input".into()))?;
    let solution = input.find(FIRST_STEP).ok_or_else(|| ConversationError::NoSteps("input".into()))?;
    let (question, steps) = input.split_at(solution);
    let texts: Vec<String> =
        steps.split(STEP_END).map(str::trim).filter(|step| !step.is_empty()).map(str::to_owned).collect();
    let first_error = view.text("label").and_then(|label| first_error(&input, &label));
    let prompt = view.prompt_of(vec![turn("user", question.trim())])?;
    let candidate = view.steps(&prompt, &texts, "input")?;
    Ok(Found { first_error, ..Found::from_one(candidate, &["input"]) })
}

/// Index of the first step that is labelled `-`; -1 if all are labelled `+`, `None` if the label is of another text.
fn first_error(input: &str, label: &str) -> Option<i64> {
    let mut rest = label;
    let ends = input.matches(STEP_END).count();
    for (index, part) in input.split(STEP_END).take(ends).enumerate() {
        rest = rest.strip_prefix(part)?;
        match rest.chars().next()? {
            '-' => return i64::try_from(index).ok(),
            '+' => rest = &rest[1..],
            _ => return None,
        }
    }
    Some(-1)
}
