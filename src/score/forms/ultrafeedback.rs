//! UltraFeedback as it was published: an instruction, and completions with what GPT-4 thought of them.
//!
//! Each completion was written under a system prompt of its own, which GPT-4 was shown when it rated the completion
//! (`annotate_critique.py` of the authors), so that it is the first turn here.

use serde_json::Value;

use super::view::number;
use super::{Form, Found, Holds};

/// The field with the system prompt of a completion.
const SYSTEM: &str = "custom_system_prompt";

pub(super) static ULTRAFEEDBACK: Form = Form {
    name: "ultrafeedback",
    data_sets: &["UltraFeedback (openbmb)", "UltraFeedback curated (Argilla)"],
    columns: "`instruction`, `completions` with `response` and `overall_score`",
    holds: Holds::Group,
    fits: |view| {
        let first = view.peek_items("completions").and_then(|list| list.into_iter().next());
        view.has("instruction") && first.is_some_and(|first| first.get("response").is_some())
    },
    read: |view| {
        let prompt = view.prompt("instruction")?;
        let (mut candidates, mut ratings) = (Vec::new(), Vec::new());
        for item in view.list("completions")? {
            let score = item.get("fine-grained_score").or_else(|| item.get("overall_score"));
            ratings.push(score.and_then(number));
            let prompt = prompt.with_system(item.get(SYSTEM).and_then(Value::as_str));
            candidates.push(view.answered(&prompt, item, "completions"));
        }
        Ok(Found::group(candidates, &["completions"]).rated(ratings))
    },
    repeated: &[],
    example: r#"{"source": "evol_instruct", "instruction": "q", "models": ["m", "n"], "completions": [{"model": "m", "response": "a", "critique": "c", "fine-grained_score": 4.5, "overall_score": 8.5}, {"model": "n", "response": "b", "overall_score": 4.0}]}"#,
};
