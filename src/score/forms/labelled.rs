//! Data sets with two or more responses in columns of their own, and a label that says which of two is better.

use super::response_columns::{read_series, winner};
use super::{Form, Holds};

pub(super) static HELPSTEER2_PREFERENCE: Form = Form {
    name: "helpsteer2-preference",
    data_sets: &["HelpSteer2-Preference", "PPE human preference", "PPE correctness, best of K"],
    columns: "`prompt`, `response_1`, `response_2` and so on, `preference_strength`, `winner` or `scores`",
    holds: Holds::Group,
    fits: |view| view.has_all(&["prompt", "response_1", "response_2"]) && !view.has("response_0"),
    read: |view| {
        // From -3, response 1 is much better, to 3, response 2 is much better.
        let preference = view.number("preference_strength").map(|strength| -strength);
        read_series(view, "prompt", ["response_1", "response_2"], preference.or_else(|| winner(view)))
    },
    repeated: &[],
    example: r#"{"split": "train", "prompt": "q", "response_1": "a", "response_2": "b", "preference_strength": -1}"#,
};

pub(super) static PKU_SAFERLHF: Form = Form {
    name: "pku-saferlhf",
    data_sets: &["PKU-SafeRLHF"],
    columns: "`prompt`, `response_0`, `response_1`, `better_response_id`",
    holds: Holds::Group,
    fits: |view| view.has_all(&["prompt", "response_0", "response_1"]),
    read: |view| {
        let better = view.number("better_response_id").filter(|id| [0.0, 1.0].contains(id));
        read_series(view, "prompt", ["response_0", "response_1"], better.map(|id| 1.0 - 2.0 * id))
    },
    repeated: &[],
    example: r#"{"prompt": "q", "response_0": "a", "response_1": "b", "is_response_0_safe": true, "is_response_1_safe": false, "better_response_id": 0, "safer_response_id": 0}"#,
};

pub(super) static SHP: Form = Form {
    name: "shp",
    data_sets: &["SHP, SHP-2"],
    columns: "`history`, `human_ref_A`, `human_ref_B`, `labels`",
    holds: Holds::Group,
    fits: |view| view.has_all(&["history", "human_ref_A", "human_ref_B"]),
    read: |view| {
        // 1 if A is preferred, 0 if B is.
        let label = view.number("labels").filter(|label| [0.0, 1.0].contains(label));
        read_series(view, "history", ["human_ref_A", "human_ref_B"], label.map(|label| 2.0 * label - 1.0))
    },
    repeated: &[],
    example: r#"{"post_id": "x", "domain": "askculinary_train", "history": "q", "human_ref_A": "a", "human_ref_B": "b", "labels": 1, "score_A": 9, "score_B": 2, "score_ratio": 4.5}"#,
};

pub(super) static JUDGEBENCH: Form = Form {
    name: "judgebench",
    data_sets: &["JudgeBench"],
    columns: "`question`, `response_A`, `response_B`, `label`",
    holds: Holds::Group,
    fits: |view| view.has_all(&["question", "response_A", "response_B"]),
    read: |view| {
        let preference = match view.text("label").as_deref() {
            Some("A>B") => Some(1.0),
            Some("B>A") => Some(-1.0),
            Some("A=B") => Some(0.0),
            _ => None,
        };
        read_series(view, "question", ["response_A", "response_B"], preference)
    },
    repeated: &[],
    example: r#"{"pair_id": "x", "source": "mmlu-pro-math", "question": "q", "response_model": "m", "response_A": "a", "response_B": "b", "label": "A>B"}"#,
};
