//! Berkeley's ranked answers.

use super::super::ConversationError;
use super::view::number;
use super::{Form, Found, Holds};

pub(super) static NECTAR: Form = Form {
    name: "nectar",
    data_sets: &["Nectar"],
    columns: "`prompt`, `answers` with `answer` and `rank`",
    holds: Holds::Group,
    fits: |view| {
        let first = view.peek_items("answers").and_then(|answers| answers.into_iter().next());
        view.has("prompt") && first.is_some_and(|first| first.get("answer").is_some())
    },
    read: |view| {
        let prompt = view.prompt("prompt")?;
        let (mut candidates, mut ratings) = (Vec::new(), Vec::new());
        for item in view.list("answers")? {
            // Rank 1 is the best.
            ratings.push(item.get("rank").and_then(number).map(|rank| -rank));
            let answer = item
                .get("answer")
                .cloned()
                .ok_or_else(|| ConversationError::Missing("answers.answer".into()))?;
            candidates.push(view.answered(&prompt, answer, "answers"));
        }
        Ok(Found::group(candidates, &["answers"]).rated(ratings))
    },
    repeated: &[],
    example: r#"{"prompt": "\n\nHuman: q\n\nAssistant: ", "answers": [{"answer": "a", "model": "m", "rank": 1.0}, {"answer": "b", "model": "n", "rank": 2.0}], "turns": 1, "num_responses": 2}"#,
};
