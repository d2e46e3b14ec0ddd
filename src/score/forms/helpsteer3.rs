//! The parts of NVIDIA's HelpSteer3: preferences, feedback and edits, all with a `context` of messages.

use super::response_columns::read_series;
use super::{Form, Found, Holds};

pub(super) static PREFERENCE: Form = Form {
    name: "helpsteer3-preference",
    data_sets: &["HelpSteer3"],
    columns: "`context`, `response1`, `response2`, `overall_preference`",
    holds: Holds::Group,
    fits: |view| view.has_all(&["context", "response1", "response2"]),
    read: |view| {
        // From -3, response 1 is much better, to 3, response 2 is much better.
        let preference = view.number("overall_preference").map(|strength| -strength);
        read_series(view, "context", ["response1", "response2"], preference)
    },
    repeated: &[],
    example: r#"{"domain": "general", "language": "english", "context": [{"role": "user", "content": "q"}], "response1": "a", "response2": "b", "overall_preference": -2}"#,
};

pub(super) static EDIT_QUALITY: Form = Form {
    name: "helpsteer3-edit-quality",
    data_sets: &["HelpSteer3, edit quality"],
    columns: "`context`, `good_edited_response`, `bad_edited_response`",
    holds: Holds::Pair,
    fits: |view| view.has_all(&["context", "good_edited_response", "bad_edited_response"]),
    read: |view| {
        let prompt = view.prompt("context")?;
        let columns = ["good_edited_response", "bad_edited_response"];
        let [good, bad] = columns.map(|column| view.candidate(&prompt, column));
        Ok(Found::pair(good, bad, columns))
    },
    repeated: &[],
    example: r#"{"context": [{"role": "user", "content": "q"}], "original_response": "o", "good_edited_response": "a", "bad_edited_response": "b", "feedback": ["f"]}"#,
};

pub(super) static EDIT: Form = Form {
    name: "helpsteer3-edit",
    data_sets: &["HelpSteer3, edit"],
    columns: "`context`, `original_response`, `edited_response`",
    holds: Holds::Group,
    fits: |view| view.has_all(&["context", "original_response", "edited_response"]),
    read: |view| {
        let prompt = view.prompt("context")?;
        let columns = ["original_response", "edited_response"];
        Ok(Found::group(columns.map(|column| view.candidate(&prompt, column)).into(), &columns))
    },
    repeated: &[],
    example: r#"{"context": [{"role": "user", "content": "q"}], "original_response": "a", "edited_response": "b", "feedback": ["f"]}"#,
};

pub(super) static FEEDBACK: Form = Form {
    name: "helpsteer3-feedback",
    data_sets: &["HelpSteer3, feedback"],
    columns: "`context`, `response`, `feedback`",
    holds: Holds::One,
    fits: |view| view.has_all(&["context", "response", "feedback"]),
    read: |view| {
        let prompt = view.prompt("context")?;
        Ok(Found::from_one(view.candidate(&prompt, "response"), &["response"]))
    },
    repeated: &[],
    example: r#"{"context": [{"role": "user", "content": "q"}], "response": "a", "feedback": ["f"]}"#,
};
