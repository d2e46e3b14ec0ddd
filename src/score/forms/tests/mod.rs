mod beside_turns;
mod chosen;
mod recognised;
mod refused;

use serde_json::Value;

use super::*;
use crate::score::Row;

pub(super) type Turns = Vec<(String, String)>;

pub(super) fn row(value: &Value) -> Row {
    Row::parse(&value.to_string()).unwrap()
}

pub(super) fn layout(row: &Row) -> RowLayout {
    let mut layout = RowLayout::detect(row, &FormArgs::default()).unwrap();
    layout.set_step_token(Some("<step>"));
    layout
}

fn turns_of(found: Found) -> Vec<Result<Turns, ConversationError>> {
    let turn = |message: crate::prompt::Message| (message.role, message.content);
    let turns = found.candidates.into_iter().map(|candidate| candidate.turns);
    turns.map(|turns| turns.map(|turns| turns.into_iter().map(turn).collect())).collect()
}

/// Role and content of each turn of each conversation in a row.
pub(super) fn found(value: &Value) -> Vec<Turns> {
    let row = row(value);
    turns_of(layout(&row).found(&row).unwrap()).into_iter().map(Result::unwrap).collect()
}

fn turn(role: &str, content: &str) -> (String, String) {
    (role.into(), content.into())
}

pub(super) fn answered(answer: &str) -> Turns {
    vec![turn("user", "q"), turn("assistant", answer)]
}

/// The first error of a row.
pub(super) fn error(value: &Value) -> String {
    let row = row(value);
    let found = match layout(&row).found(&row) {
        Ok(found) => turns_of(found).into_iter().find_map(Result::err),
        Err(error) => Some(error),
    };
    found.expect("the row has an error").to_string()
}
