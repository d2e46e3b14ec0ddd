//! Signs the scores of a row's conversations, and checks such signatures. Both see only the row, so that everyone who has
//! it can check it.

use serde_json::{Map, Value, json};

use super::ScoreResult;
use super::columns::{SIDES, SIGNATURE, ScoreColumns};
use super::conversation::list;
use super::criteria::{PRINCIPLE, RUBRIC};
use super::forms::{Found, Holds, RowLayout};
use super::row::{Cell, Row};
use super::scores_of_row::{other_value, scores_of_row};
use crate::manifest::EngineIdentity;
use crate::prompt::Message;
use crate::signing::{Mismatch, PublicKey, ScoreSigner, verify_scores};

/// The signatures of a row's scores, in the order of its responses; `None` for those without scores.
pub(super) fn sign_row(
    signer: &ScoreSigner,
    row: &Row,
    layout: &RowLayout,
    results: &[ScoreResult],
) -> Vec<Option<String>> {
    let (_, conversations) = conversations(row, layout);
    let signed = conversations.into_iter().zip(results);
    signed
        .map(|(conversation, result)| Some(signer.sign(&conversation?, &result.as_ref().ok()?.scores)))
        .collect()
}

/// What checking the scores of one conversation of a row gave: the engine that they are of, or what is wrong. `None` if the
/// conversation has no scores.
pub(super) type CheckedScores = Option<Result<EngineIdentity, Mismatch>>;

/// What checking a row gave.
pub(super) struct CheckedRow {
    /// The result for each of its conversations.
    pub(super) conversations: Vec<CheckedScores>,
    /// What looks like a score and is not that of a conversation.
    pub(super) other: Option<Mismatch>,
}

/// Checks the scores of each of a row's conversations, and that the row has no others.
pub(super) fn check_row(
    key: &PublicKey,
    row: &Row,
    layout: &RowLayout,
    columns: &ScoreColumns,
) -> CheckedRow {
    let (found, conversations) = conversations(row, layout);
    let scores = scores_of_row(row, layout.holds(), &found, columns);
    let signatures = signatures_of_row(row, layout.holds(), &found, columns);
    let mut checked = Vec::with_capacity(conversations.len());
    for ((conversation, scores), signature) in conversations.into_iter().zip(scores).zip(signatures) {
        checked.push(match (signature, conversation) {
            (None, _) if scores.is_empty() => None,
            (None, _) => Some(Err(Mismatch::UnsignedScores)),
            (Some(_), None) => Some(Err(Mismatch::Scores)),
            (Some(signature), Some(conversation)) => {
                Some(verify_scores(key, &signature, &conversation, &scores))
            }
        });
    }
    let other = other_value(row, layout.holds(), &found, columns).map(Mismatch::OtherValue);
    CheckedRow { conversations: checked, other }
}

/// What the row's scores are about, in the order of its responses: the messages, and what else the row says that they are
/// scored by.
fn conversations(row: &Row, layout: &RowLayout) -> (Found, Vec<Option<Value>>) {
    // The token that ends a step is the model's and not in the row.
    let mut layout = layout.clone();
    layout.show_steps();
    let found = layout.found(row).unwrap_or_default();
    let mut shared = Map::new();
    if !found.variables.is_empty() {
        shared.insert("chat_template_kwargs".into(), found.variables.to_json());
    }
    let rubric = row.get(RUBRIC).and_then(|cell| list(&cell.value())).filter(|items| !items.is_empty());
    if let Some(rubric) = rubric {
        shared.insert(RUBRIC.into(), rubric.into());
    }
    let principle = row.get(PRINCIPLE).and_then(Cell::as_text).filter(|text| !text.trim().is_empty());
    if let Some(principle) = principle {
        shared.insert(PRINCIPLE.into(), principle.into());
    }
    let about = |turns: &Vec<Message>| {
        let mut conversation = shared.clone();
        conversation.insert("messages".into(), turns.iter().map(Message::as_json).collect());
        without_nulls(Value::Object(conversation))
    };
    let conversations =
        found.candidates.iter().map(|candidate| candidate.turns.as_ref().ok().map(about)).collect();
    (found, conversations)
}

/// The value without the fields of objects that are null: Parquet files fill every object with them.
fn without_nulls(value: Value) -> Value {
    match value {
        Value::Object(fields) => {
            let fields = fields.into_iter().filter(|(_, value)| !value.is_null());
            fields.map(|(name, value)| (name, without_nulls(value))).collect()
        }
        Value::Array(items) => items.into_iter().map(without_nulls).collect(),
        other => other,
    }
}

impl ScoreColumns {
    /// Adds the signatures of the scores of a row's responses.
    pub(super) fn add_signatures(
        &self,
        row: &mut Row,
        holds: Holds,
        chosen: usize,
        signatures: &[Option<String>],
    ) {
        let one = |place: usize| json!(signatures.get(place).cloned().flatten());
        match holds {
            Holds::One | Holds::Steps => self.set(row, SIGNATURE, &one(0)),
            Holds::Group => self.set(row, SIGNATURE, &json!(signatures)),
            Holds::Pair => {
                for (place, side) in SIDES.iter().enumerate() {
                    self.set(row, &format!("{side}{SIGNATURE}"), &one(place));
                }
            }
            Holds::Lists => {
                let (first, second) = signatures.split_at(chosen.min(signatures.len()));
                for (side, signatures) in SIDES.iter().zip([first, second]) {
                    self.set(row, &format!("{side}{SIGNATURE}"), &json!(signatures));
                }
            }
        }
    }
}

/// The signatures in a row, in the order of its responses.
fn signatures_of_row(row: &Row, holds: Holds, found: &Found, columns: &ScoreColumns) -> Vec<Option<String>> {
    let mut signatures = vec![None; found.candidates.len()];
    let mut read = |column: &str, first: usize| {
        let Some(cell) = row.get(&columns.name(column)) else { return };
        let value = cell.value();
        let items = list(&value).unwrap_or_else(|| vec![value]);
        for (place, item) in signatures.iter_mut().skip(first).zip(items) {
            *place = item.as_str().filter(|text| !text.is_empty()).map(str::to_owned);
        }
    };
    match holds {
        Holds::One | Holds::Steps | Holds::Group => read(SIGNATURE, 0),
        Holds::Pair | Holds::Lists => {
            read(&format!("{}{SIGNATURE}", SIDES[0]), 0);
            read(&format!("{}{SIGNATURE}", SIDES[1]), found.chosen);
        }
    }
    signatures
}
