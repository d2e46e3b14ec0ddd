//! OpenAI's form for preference fine-tuning.

use super::super::ConversationError;
use super::super::conversation::parse_prompt;
use super::{Form, Found, Holds};

pub(super) static PREFERENCE: Form = Form {
    name: "openai-preference",
    data_sets: &["OpenAI preference fine-tuning"],
    columns: "`input.messages`, `preferred_output`, `non_preferred_output`",
    holds: Holds::Pair,
    fits: |view| view.has_all(&["input.messages", "preferred_output", "non_preferred_output"]),
    read: |view| {
        let messages = view.value("input.messages")?;
        let turns = parse_prompt(&messages)
            .ok_or_else(|| ConversationError::from_turns(&messages, "input.messages"))?;
        let prompt = view.prompt_of(turns.0)?;
        let columns = ["preferred_output", "non_preferred_output"];
        let [preferred, other] = columns.map(|column| view.candidate(&prompt, column));
        Ok(Found::pair(preferred, other, columns))
    },
    repeated: &[],
    example: r#"{"input": {"messages": [{"role": "user", "content": "q"}]}, "preferred_output": [{"role": "assistant", "content": "a"}], "non_preferred_output": [{"role": "assistant", "content": "b"}]}"#,
};
