//! Reads the scores of a row's responses back from its columns.

use serde_json::Value;

use super::columns::{SIDES, ScoreColumns};
use super::conversation::list;
use super::forms::{Found, Holds};
use super::row::Row;
use crate::reward::RankedBy;

/// Scores of one response by name, in the order of the columns; empty if it has none.
pub(super) type NamedScores = Vec<(String, f64)>;

/// The scores of each of a row's responses.
pub(super) fn scores_of_row(
    row: &Row,
    holds: Holds,
    found: &Found,
    columns: &ScoreColumns,
) -> Vec<NamedScores> {
    let mut scores: Vec<NamedScores> = vec![Vec::new(); found.candidates.len()];
    for (name, cell) in columns.scores(row) {
        let value = cell.value();
        if matches!(holds, Holds::One | Holds::Steps) {
            add(&mut scores, 0, name, &value);
            continue;
        }
        let Some((first, attribute)) = side(name, holds, found.chosen) else { continue };
        match list(&value) {
            Some(items) => {
                for (place, item) in items.iter().enumerate() {
                    add(&mut scores, first + place, attribute, item);
                }
            }
            // The scores of several responses are lists; another number is the row's own.
            None if holds == Holds::Group => {}
            None => add(&mut scores, first, attribute, &value),
        }
    }
    scores
}

/// The index of the first response that a column has scores of, and the attribute.
fn side(name: &str, holds: Holds, chosen: usize) -> Option<(usize, &str)> {
    if holds == Holds::Group {
        return Some((0, name));
    }
    let [of_chosen, of_rejected] = SIDES.map(|side| name.strip_prefix(side));
    of_chosen.map(|attribute| (0, attribute)).or(of_rejected.map(|attribute| (chosen, attribute)))
}

fn add(scores: &mut [NamedScores], index: usize, attribute: &str, value: &Value) {
    if let (Some(scores), Some(score)) = (scores.get_mut(index), number(value)) {
        scores.push((attribute.to_owned(), score));
    }
}

/// A number, or its text, which is how CSV holds one.
fn number(value: &Value) -> Option<f64> {
    value.as_f64().or_else(|| value.as_str()?.parse().ok())
}

/// The score that ranks a response: the one called `by`, or its first.
pub(super) fn ranking_score(scores: &NamedScores, by: Option<&RankedBy>) -> Option<f64> {
    match by {
        Some(by) => by.value(scores.iter().map(|(name, score)| (name.as_str(), *score))),
        None => scores.first().map(|(_, score)| *score),
    }
}
