//! ms-swift's pairs: the conversation ends with the chosen response, and a column has the rejected one.

use super::super::ConversationError;
use super::super::conversation::{list, parse_messages};
use super::view::RowView;
use super::{Form, Found, Holds};

pub(super) static REJECTED: Form = Form {
    name: "ms-swift-pair",
    data_sets: &["ms-swift, DPO and reward modelling"],
    columns: "`messages`, or `query` and `response`; `rejected_response` or `rejected_messages`",
    holds: Holds::Pair,
    fits: |view| {
        let has_chosen = view.has("messages") || view.has_all(&["query", "response"]);
        has_chosen && (view.has("rejected_response") || view.has("rejected_messages"))
    },
    read,
    repeated: &[],
    example: r#"{"messages": [{"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}], "rejected_response": "b"}"#,
};

fn read(view: &RowView) -> Result<Found, ConversationError> {
    if !view.has("messages") {
        let prompt = view.prompt("query")?;
        let columns = ["response", "rejected_response"];
        let [chosen, rejected] = columns.map(|column| view.candidate(&prompt, column));
        return Ok(Found::pair(chosen, rejected, columns));
    }
    let chosen = view.conversation("messages")?;
    if view.has("rejected_messages") {
        let rejected = view.conversation("rejected_messages")?;
        return Ok(Found::pair(chosen, rejected, ["messages", "rejected_messages"]));
    }
    // The rejected response follows the turns before the last.
    let messages = view.value("messages")?;
    let turns = list(&messages).and_then(|messages| parse_messages(&messages));
    let mut turns = turns.ok_or_else(|| ConversationError::Message("messages".into()))?;
    turns.pop();
    let prompt = view.prompt_of(turns)?;
    let rejected = view.candidate(&prompt, "rejected_response");
    Ok(Found { hold_prompt: true, ..Found::pair(chosen, rejected, ["messages", "rejected_response"]) })
}
