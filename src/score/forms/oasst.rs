//! OpenAssistant's conversations, which are published as trees and as single messages.

use super::super::ConversationError;
use super::super::conversation::turn;
use super::view::number;
use super::{Form, Found, Holds};

pub(super) static TREE: Form = Form {
    name: "oasst-trees",
    data_sets: &["OpenAssistant, trees"],
    columns: "`prompt.text`, `prompt.replies`",
    holds: Holds::Group,
    fits: |view| view.has_all(&["prompt.text", "prompt.replies"]),
    read: |view| {
        let question =
            view.text("prompt.text").ok_or_else(|| ConversationError::Missing("prompt.text".into()))?;
        let prompt = view.prompt_of(vec![turn("user", &question)]);
        let (mut candidates, mut ratings) = (Vec::new(), Vec::new());
        for reply in view.list("prompt.replies")? {
            // Rank 0 is the best.
            ratings.push(reply.get("rank").and_then(number).map(|rank| -rank));
            let text = reply.get("text").cloned().unwrap_or_default();
            candidates.push(view.answered(&prompt, text, "prompt.replies"));
        }
        Ok(Found::group(candidates, &["prompt"]).rated(ratings))
    },
    repeated: &[],
    example: r#"{"message_tree_id": "x", "tree_state": "ready_for_export", "prompt": {"message_id": "x", "text": "q", "role": "prompter", "replies": [{"text": "a", "role": "assistant", "rank": 0, "replies": []}, {"text": "b", "role": "assistant", "rank": 1, "replies": []}]}}"#,
};

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
