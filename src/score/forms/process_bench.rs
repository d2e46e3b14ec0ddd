//! Qwen's benchmark of finding the first wrong step.

use super::super::ConversationError;
use super::super::conversation::turn;
use super::{Form, Found, Holds};

pub(super) static PROCESS_BENCH: Form = Form {
    name: "processbench",
    data_sets: &["ProcessBench"],
    columns: "`problem`, `steps`, `label`",
    holds: Holds::Steps,
    fits: |view| view.has_all(&["problem", "steps", "label"]),
    read: |view| {
        let problem = view.text("problem").ok_or_else(|| ConversationError::Missing("problem".into()))?;
        let prompt = view.prompt_of(vec![turn("user", &problem)])?;
        let candidate = view.steps(&prompt, &view.texts("steps")?, "steps")?;
        let first_error = view.number("label").map(|label| label as i64);
        Ok(Found { first_error, ..Found::from_one(candidate, &["steps"]) })
    },
    repeated: &[],
    example: r#"{"id": "gsm8k-0", "generator": "m", "problem": "q", "steps": ["a", "b"], "final_answer_correct": false, "label": 1}"#,
};
