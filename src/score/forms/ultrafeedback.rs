//! UltraFeedback as it was published: an instruction, and completions with what GPT-4 thought of them.

use serde_json::Value;

use super::super::conversation::list;
use super::view::{RowView, number};
use super::{Form, Found, Holds};

/// The field of a completion with the system prompt under which it was written.
const SYSTEM: &str = "custom_system_prompt";

pub(super) static ULTRAFEEDBACK: Form = Form {
    name: "ultrafeedback",
    data_sets: &["UltraFeedback (openbmb)"],
    columns: "`instruction`, `completions` with `response` and `overall_score`",
    holds: Holds::Group,
    fits: |view| {
        let first = completions(view).and_then(|list| list.into_iter().next());
        view.has("instruction") && first.is_some_and(|first| first.get("response").is_some())
    },
    read: |view| {
        let prompt = view.prompt("instruction")?;
        let (mut candidates, mut ratings) = (Vec::new(), Vec::new());
        for item in view.list("completions")? {
            let score = item.get("fine-grained_score").or_else(|| item.get("overall_score"));
            ratings.push(score.and_then(number));
            candidates.push(view.answered(&prompt, item, "completions"));
        }
        Ok(Found::group(candidates, &["completions"]).rated(ratings))
    },
    repeated: &[],
    example: r#"{"source": "evol_instruct", "instruction": "q", "models": ["m", "n"], "completions": [{"model": "m", "response": "a", "overall_score": 8.5}, {"model": "n", "response": "b", "overall_score": 4.0}]}"#,
};

fn completions(view: &RowView) -> Option<Vec<Value>> {
    list(&view.peek("completions")?)
}

/// The name of the system prompts of the completions, if they have any: they told a model how to write, and a
/// response is judged without them.
pub(super) fn unread_system(view: &RowView) -> Option<String> {
    let has_system =
        |item: &Value| item.get(SYSTEM).and_then(Value::as_str).is_some_and(|text| !text.is_empty());
    completions(view)?.iter().any(has_system).then(|| format!("completions.{SYSTEM}"))
}
