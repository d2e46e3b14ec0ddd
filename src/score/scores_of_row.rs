//! Reads the scores of a row's responses back from its columns.

use std::ops::Range;

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
    for_each_value(row, holds, found, columns, |place| {
        if let Some((scores, score)) =
            place.response.and_then(|response| scores.get_mut(response)).zip(place.score())
        {
            scores.push((place.attribute.to_owned(), score));
        }
    });
    scores
}

/// The first column with scores that has a value which [`scores_of_row`] does not take for one.
pub(super) fn other_value(row: &Row, holds: Holds, found: &Found, columns: &ScoreColumns) -> Option<String> {
    let mut other = None;
    for_each_value(row, holds, found, columns, |place| {
        let is_score = place.response.is_some() && place.score().is_some();
        if !is_score && !place.is_empty() && other.is_none() {
            other = Some(columns.name(place.column));
        }
    });
    other
}

/// A value in a column with scores.
struct Place<'a> {
    /// The column, without the prefix.
    column: &'a str,
    /// The response that the value is of, if it is of one.
    response: Option<usize>,
    attribute: &'a str,
    /// `None` if it cannot be parsed.
    value: Option<&'a Value>,
}

impl Place<'_> {
    /// A number, or its text, which is how CSV holds one.
    fn score(&self) -> Option<f64> {
        let value = self.value?;
        value.as_f64().or_else(|| value.as_str()?.parse().ok())
    }

    fn is_empty(&self) -> bool {
        self.value.is_some_and(|value| value.is_null() || value.as_str() == Some(""))
    }
}

/// Passes each value of the columns with scores to `take`, in their order.
fn for_each_value(
    row: &Row,
    holds: Holds,
    found: &Found,
    columns: &ScoreColumns,
    mut take: impl FnMut(&Place<'_>),
) {
    for (column, cell) in columns.scores(row) {
        let value = cell.value();
        let whole = (!value.is_null() || cell.is_null()).then_some(&value);
        let Some((responses, attribute)) = side(column, holds, found) else {
            take(&Place { column, response: None, attribute: column, value: whole });
            continue;
        };
        let takes_list = !matches!(holds, Holds::One | Holds::Steps);
        match list(&value).filter(|_| takes_list) {
            Some(items) => {
                for (index, item) in items.iter().enumerate() {
                    let response = responses.clone().nth(index);
                    take(&Place { column, response, attribute, value: Some(item) });
                }
            }
            // The scores of several responses are lists; another number is the row's own.
            None if holds == Holds::Group => take(&Place { column, response: None, attribute, value: whole }),
            None => take(&Place { column, response: responses.clone().next(), attribute, value: whole }),
        }
    }
}

/// The responses that a column has scores of, and the attribute.
fn side<'a>(column: &'a str, holds: Holds, found: &Found) -> Option<(Range<usize>, &'a str)> {
    let all = found.candidates.len();
    if !matches!(holds, Holds::Pair | Holds::Lists) {
        return Some((0..all, column));
    }
    let [of_chosen, of_rejected] = SIDES.map(|side| column.strip_prefix(side));
    let chosen = found.chosen.min(all);
    of_chosen
        .map(|attribute| (0..chosen, attribute))
        .or(of_rejected.map(|attribute| (chosen..all, attribute)))
}

/// The score that ranks a response: the one called `by`, or its first.
pub(super) fn ranking_score(scores: &NamedScores, by: Option<&RankedBy>) -> Option<f64> {
    match by {
        Some(by) => by.value(scores.iter().map(|(name, score)| (name.as_str(), *score))),
        None => scores.first().map(|(_, score)| *score),
    }
}
