//! OpenAI's labels of single steps, as they were published.

use serde_json::Value;

use super::super::ConversationError;
use super::super::conversation::{list, turn};
use super::view::{RowView, number};
use super::{Form, Found, Holds};

pub(super) static PRM800K: Form = Form {
    name: "prm800k",
    data_sets: &["PRM800K"],
    columns: "`question.problem`, `label.steps`",
    holds: Holds::Steps,
    fits: |view| view.has_all(&["question.problem", "label.steps"]),
    read,
    repeated: &[],
    example: r#"{"question": {"problem": "q", "ground_truth_answer": "2"}, "label": {"steps": [{"completions": [{"text": "a", "rating": 1}], "human_completion": null, "chosen_completion": 0}, {"completions": [{"text": "b", "rating": -1}], "human_completion": null, "chosen_completion": null}], "finish_reason": "found_error"}}"#,
};

fn read(view: &RowView) -> Result<Found, ConversationError> {
    let problem =
        view.text("question.problem").ok_or_else(|| ConversationError::Missing("question.problem".into()))?;
    let steps = view.value("label.steps")?;
    let steps = list(&steps).ok_or_else(|| ConversationError::NotAList("label.steps".into()))?;
    let (mut texts, mut first_error) = (Vec::new(), -1);
    for (index, step) in steps.iter().enumerate() {
        let taken = taken(step).ok_or_else(|| ConversationError::NotTexts("label.steps".into()))?;
        let text = taken.get("text").and_then(Value::as_str);
        texts.push(text.ok_or_else(|| ConversationError::NotTexts("label.steps".into()))?.to_owned());
        if first_error < 0 && taken.get("rating").and_then(number).is_some_and(|rating| rating < 0.0) {
            first_error = index as i64;
        }
    }
    let prompt = view.prompt_of(vec![turn("user", &problem)])?;
    let candidate = view.steps(&prompt, &texts, "label.steps")?;
    Ok(Found { first_error: Some(first_error), ..Found::from_one(candidate, &["label"]) })
}

/// The completion with which the solution goes on; the first if it ends here.
fn taken(step: &Value) -> Option<&Value> {
    let completions = step.get("completions").and_then(Value::as_array);
    let chosen = step.get("chosen_completion").and_then(Value::as_u64);
    match chosen {
        Some(chosen) => completions?.get(usize::try_from(chosen).ok()?),
        None => {
            step.get("human_completion").filter(|human| human.is_object()).or_else(|| completions?.first())
        }
    }
}
