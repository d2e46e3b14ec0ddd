//! OpenAssistant's conversations, which are published as trees and as single messages.

use std::collections::VecDeque;

use serde_json::Value;

use super::super::ConversationError;
use super::super::conversation::{list, role_name, turn};
use super::view::{RowView, number};
use super::{Form, Found, Holds};

pub(super) static TREE: Form = Form {
    name: "oasst-trees",
    data_sets: &["OpenAssistant, trees"],
    columns: "`prompt.text`, `prompt.replies`",
    holds: Holds::Group,
    fits: |view| view.has_all(&["prompt.text", "prompt.replies"]),
    read: read_tree,
    repeated: &[],
    example: r#"{"message_tree_id": "x", "tree_state": "ready_for_export", "prompt": {"message_id": "x", "text": "q", "role": "prompter", "replies": [{"text": "a", "role": "assistant", "rank": 0, "replies": []}, {"text": "b", "role": "assistant", "rank": 1, "replies": []}]}}"#,
};

/// Every reply of the assistant in a tree, after the turns that lead to it. The replies to the first prompt come first,
/// then those to the next turns of the user, level by level.
fn read_tree(view: &RowView) -> Result<Found, ConversationError> {
    let missing = |field: &str| ConversationError::Missing(field.to_owned());
    let question = view.text("prompt.text").ok_or_else(|| missing("prompt.text"))?;
    let mut open = VecDeque::from([(vec![turn("user", &question)], view.list("prompt.replies")?)]);
    let (mut candidates, mut ratings, mut prompts) = (Vec::new(), Vec::new(), Vec::new());
    let mut prompt = 0;
    while let Some((turns, replies)) = open.pop_front() {
        let before = view.prompt_of(turns.clone())?;
        for reply in replies {
            let text = reply.get("text").and_then(Value::as_str).ok_or_else(|| missing("replies.text"))?;
            let is_response =
                role_name(reply.get("role").and_then(Value::as_str).unwrap_or_default()) == "assistant";
            if is_response {
                candidates.push(view.answered(&before, text.into(), "prompt.replies"));
                // Rank 0 is the best.
                ratings.push(reply.get("rank").and_then(number).map(|rank| -rank));
                prompts.push(prompt);
            }
            if let Some(next) = reply.get("replies").and_then(list).filter(|next| !next.is_empty()) {
                let role = if is_response { "assistant" } else { "user" };
                open.push_back(([turns.as_slice(), &[turn(role, text)]].concat(), next));
            }
        }
        prompt += 1;
    }
    Ok(Found { prompts, hold_prompt: true, ..Found::group(candidates, &["prompt"]).rated(ratings) })
}

pub(super) static MESSAGE: Form = Form {
    name: "oasst-messages",
    data_sets: &["OpenAssistant, messages"],
    columns: "`message_id`, `parent_id`, `text`, `role`",
    holds: Holds::One,
    fits: |view| view.has_all(&["message_id", "parent_id", "text", "role"]),
    read: |_| {
        Err(ConversationError::NotAConversation(
            "each row is one message of a tree; use the file of trees (oasst1's 2023-04-12_oasst_ready.trees.jsonl.gz)",
        ))
    },
    repeated: &["text"],
    example: r#"{"message_id": "x", "parent_id": null, "text": "q", "role": "prompter", "rank": null}"#,
};
