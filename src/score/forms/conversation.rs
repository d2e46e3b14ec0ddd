//! Whole conversations.

use super::super::ConversationError;
use super::super::dialogue::parse_dialogue;
use super::names::CONVERSATIONS;
use super::view::RowView;
use super::{Form, Found, Holds};

pub(super) static CONVERSATION: Form = Form {
    name: "conversation",
    data_sets: &[
        "OpenAI chat",
        "ShareGPT, LLaMA-Factory (ShareGPT), ms-swift",
        "WildChat, LMSYS-Chat-1M",
        "UltraChat, Tulu 3 SFT",
        "OpenAssistant Guanaco",
        "hh-rlhf red team attempts",
        "TRL, language modeling",
        "Capybara",
        "OpenAI batch requests",
    ],
    columns: "`messages`, `conversations`, `conversation`, `transcript`, `dialogue` or `body.messages`, or a dialogue in `text`",
    holds: Holds::One,
    fits: |view| column(view).is_some(),
    read: |view| {
        let column = column(view).ok_or_else(|| match view.peek("text") {
            Some(_) => ConversationError::NotADialogue("text".into()),
            None => ConversationError::Missing("messages".into()),
        })?;
        Ok(Found::from_one(view.conversation(column)?, &[column]))
    },
    repeated: &["prompt", "instruction", "question", "query"],
    example: r#"{"messages": [{"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}]}"#,
};

/// The column of the conversation; a `text` may also be something else.
fn column<'a>(view: &'a RowView) -> Option<&'a str> {
    let named = view.options.names.conversation();
    let is_dialogue =
        || view.peek("text").is_some_and(|text| text.as_str().and_then(parse_dialogue).is_some());
    view.column(named, &CONVERSATIONS).filter(|column| named.is_some() || *column != "text" || is_dialogue())
}
