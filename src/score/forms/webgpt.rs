//! OpenAI's comparisons of answers with quotes.

use super::super::conversation::turn;
use super::{Form, Found, Holds};

pub(super) static WEBGPT: Form = Form {
    name: "webgpt",
    data_sets: &["WebGPT comparisons"],
    columns: "`question.full_text`, `answer_0`, `answer_1`, `score_0`, `score_1`",
    holds: Holds::Group,
    fits: |view| view.has_all(&["question", "answer_0", "answer_1"]),
    read: |view| {
        let question = match view.text("question.full_text") {
            Some(question) => question,
            None => view
                .text("question")
                .ok_or_else(|| super::super::ConversationError::Missing("question".into()))?,
        };
        let prompt = view.prompt_of(vec![turn("user", &question)])?;
        let columns = ["answer_0", "answer_1"];
        let candidates = columns.map(|column| view.candidate(&prompt, column)).into();
        let ratings = vec![view.number("score_0"), view.number("score_1")];
        Ok(Found::group(candidates, &columns).rated(ratings))
    },
    repeated: &[],
    example: r#"{"question": {"dataset": "eli5", "id": "x", "full_text": "q"}, "answer_0": "a", "answer_1": "b", "score_0": 0.5, "score_1": -0.5}"#,
};
