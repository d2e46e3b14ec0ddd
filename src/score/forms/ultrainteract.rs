//! Pairs of actions in trajectories of reasoning.

use super::{Form, Found, Holds};

pub(super) static ULTRAINTERACT: Form = Form {
    name: "ultrainteract",
    data_sets: &["UltraInteract, pairs"],
    columns: "`trajectory`, `chosen`, `rejected`",
    holds: Holds::Pair,
    fits: |view| view.has_all(&["trajectory", "chosen", "rejected"]),
    read: |view| {
        let prompt = view.prompt("trajectory")?;
        let columns = ["chosen", "rejected"];
        let [chosen, rejected] = columns.map(|column| view.candidate(&prompt, column));
        Ok(Found::pair(chosen, rejected, columns))
    },
    repeated: &[],
    example: r#"{"task": "Math_CoT", "dataset": "gsm8k", "trajectory": [{"from": "user", "value": "q"}], "chosen": "a", "rejected": "b", "id": "x", "parent_id": "y"}"#,
};
