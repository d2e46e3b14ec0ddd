//! OpenAI's comparisons of answers with quotes.

use super::super::conversation::turn;
use super::response_columns::series;
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
        let columns = series(view, ["answer_0", "answer_1"]);
        let columns: Vec<&str> = columns.iter().map(String::as_str).collect();
        let candidates = columns.iter().map(|column| view.candidate(&prompt, column)).collect();
        let ratings = (0..columns.len()).map(|index| view.number(&format!("score_{index}"))).collect();
        Ok(Found::group(candidates, &columns).rated(ratings))
    },
    repeated: &[],
    example: r#"{"question": {"dataset": "eli5", "id": "x", "full_text": "q"}, "answer_0": "a", "answer_1": "b", "score_0": 0.5, "score_1": -0.5}"#,
};
