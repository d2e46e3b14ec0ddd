//! Pairs of a chosen and a rejected response.

use super::super::ConversationError;
use super::view::RowView;
use super::{Form, Found, Holds};

/// Further columns that may hold the prompt of a pair.
const CONVERSATIONS: [&str; 2] = ["conversations", "conversation"];

pub(super) static PAIR: Form = Form {
    name: "pair",
    data_sets: &[
        "hh-rlhf",
        "RewardBench",
        "Skywork-Reward-Preference-80K",
        "UltraFeedback binarized (H4, TRL, Argilla cleaned)",
        "Tulu 3 preferences",
        "argilla/dpo-mix-7k, distilabel and Orca DPO pairs",
        "LLaMA-Factory, preference (Alpaca, ShareGPT)",
        "TRL, preference",
        "Stack Exchange paired",
    ],
    columns: "`chosen` and `rejected`, or `response_j` and `response_k`; the prompt in a column of its own, or in both",
    holds: Holds::Pair,
    fits: |view| columns(view).into_iter().all(|column| column.is_some()),
    read,
    repeated: &["messages", "generations", "original_response"],
    example: r#"{"prompt": "q", "chosen": [{"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}], "rejected": [{"role": "user", "content": "q"}, {"role": "assistant", "content": "b"}]}"#,
};

fn columns<'a>(view: &'a RowView) -> [Option<&'a str>; 2] {
    let names = &view.options.names;
    [
        view.column(names.chosen(), &["chosen", "response_j"]),
        view.column(names.rejected(), &["rejected", "response_k"]),
    ]
}

fn read(view: &RowView) -> Result<Found, ConversationError> {
    let [chosen, rejected] = columns(view);
    let missing = |name: &str| ConversationError::Missing(name.to_owned());
    let chosen = chosen.ok_or_else(|| missing("chosen"))?;
    let rejected = rejected.ok_or_else(|| missing("rejected"))?;
    let prompt = match view.prompt_column().or_else(|| view.column(None, &CONVERSATIONS)) {
        // An empty prompt is in the responses.
        Some(column) if view.peek(column).is_some_and(|value| value != "") => view.prompt(column)?,
        _ => view.no_prompt()?,
    };
    let mut candidates = [chosen, rejected].map(|column| view.candidate(&prompt, column));
    view.check_same_prompt(&prompt, &mut candidates);
    let [better, worse] = candidates;
    Ok(Found::pair(better, worse, [chosen, rejected]))
}
