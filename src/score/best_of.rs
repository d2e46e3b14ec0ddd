//! `--best-of` within a row: the best response of a group, or the better one of a pair.

use serde_json::Value;

use super::columns::{SIDES, ScoreColumns};
use super::conversation::list;
use super::forms::{Found, Holds, RowLayout};
use super::row::{Cell, Row};
use super::scores_of_row::{ranking_score, scores_of_row};
use crate::prompt::Message;

/// The column of the prompt, if it would go with the responses.
pub(super) const PROMPT: &str = "prompt";
/// The column of the response that is kept.
pub(super) const RESPONSE: &str = "response";

/// Puts the best response of a row in place of all of them. Returns false if none has scores. Rows that
/// have only one response stay as they are.
pub(super) fn replace_by_best(row: &mut Row, layout: &RowLayout, columns: &ScoreColumns) -> bool {
    let holds = layout.holds();
    if matches!(holds, Holds::One | Holds::Steps) {
        return true;
    }
    let Ok(found) = layout.found(row) else { return false };
    let best = match holds {
        Holds::Group => best_of_group(row, columns),
        _ => best_by_scores(row, holds, &found, columns),
    };
    let Some(best) = best.filter(|best| *best < found.candidates.len()) else { return false };
    keep(row, &found, best, holds, columns);
    true
}

/// Index of the response of rank 1.
fn best_of_group(row: &Row, columns: &ScoreColumns) -> Option<usize> {
    let ranks = list(&row.get(&columns.name("rank"))?.value())?;
    ranks.iter().position(|rank| rank == 1)
}

/// Index of the response with the highest score among the chosen and the rejected; the first of equals.
fn best_by_scores(row: &Row, holds: Holds, found: &Found, columns: &ScoreColumns) -> Option<usize> {
    let mut best: Option<(usize, f64)> = None;
    for (index, scores) in scores_of_row(row, holds, found, columns).iter().enumerate() {
        let Some(score) = ranking_score(scores, columns.by.as_ref()) else { continue };
        if best.is_none_or(|(_, highest)| score > highest) {
            best = Some((index, score));
        }
    }
    best.map(|(index, _)| index)
}

/// The start of the names of a response's scores, and its place on that side.
fn side(found: &Found, index: usize) -> (&'static str, usize) {
    if index < found.chosen { (SIDES[0], index) } else { (SIDES[1], index - found.chosen) }
}

/// Puts the response at `best` in place of the columns that hold the responses, and keeps only its scores.
fn keep(row: &mut Row, found: &Found, best: usize, holds: Holds, columns: &ScoreColumns) {
    let candidate = &found.candidates[best];
    let turns = candidate.turns.as_deref().unwrap_or_default();
    let (prompt, response) = match turns.split_last() {
        Some((last, prompt)) if found.hold_prompt => {
            let prompt: Value = prompt.iter().map(Message::as_json).collect();
            (Some(Cell::from(&prompt)), Cell::text(&last.content))
        }
        _ => (None, Cell::from(&candidate.response)),
    };
    let (side, place) = match holds {
        Holds::Group => ("", best),
        _ => side(found, best),
    };
    let mut kept = Row::default();
    for (name, cell) in std::mem::take(row).into_columns() {
        if found.columns.contains(&name) {
            if !kept.contains(RESPONSE) {
                if let Some(prompt) = &prompt {
                    kept.set(PROMPT, prompt.clone());
                }
                kept.push(RESPONSE.to_owned(), response.clone());
            }
        } else if let Some(added) = columns.added(&name) {
            let is_others =
                SIDES.iter().any(|other| holds != Holds::Group && *other != side && added.starts_with(other));
            if !is_others {
                let name = columns.name(added.strip_prefix(side).unwrap_or(added));
                kept.set(&name, item(cell, place));
            }
        } else if name != RESPONSE && !(name == PROMPT && prompt.is_some()) {
            kept.push(name, cell);
        }
    }
    // A response inside of another column, such as a tree, has no column of its own to replace.
    kept.set(RESPONSE, response);
    *row = kept;
}

/// The item at `place` of a list; other values as they are.
fn item(cell: Cell, place: usize) -> Cell {
    match cell.as_list() {
        Some(list) => list.get(place).map_or_else(Cell::null, Cell::from),
        None => cell,
    }
}
