//! `--best-of` within a row: the best response of a group, or the better one of a pair.

use serde_json::Value;

use super::Row;
use super::columns::ScoreColumns;
use super::shape::RowShape;

/// Puts the best response of a row in place of all of them. Returns false if none has scores. Rows that
/// have only one response stay as they are.
pub(super) fn replace_by_best(row: &mut Row, shape: &RowShape, columns: &ScoreColumns) -> bool {
    match shape {
        RowShape::Group { responses, .. } => best_of_group(row, shape, responses, columns).is_some(),
        RowShape::Pair { chosen, rejected, .. } => better_of_pair(row, chosen, rejected, columns).is_some(),
        RowShape::Single { .. } | RowShape::Messages { .. } => true,
    }
}

/// The list of responses becomes the best response, and the lists of scores its scores.
fn best_of_group(row: &mut Row, shape: &RowShape, responses: &str, columns: &ScoreColumns) -> Option<()> {
    let ranks = row.get(&columns.name("rank"))?.as_array()?;
    let best = ranks.iter().position(|rank| rank == 1)?;
    let text = shape.responses(row)?.get(best)?.clone();
    let mut kept = Row::new();
    for (name, value) in std::mem::take(row) {
        if name == responses {
            kept.insert("response".into(), text.clone());
            continue;
        }
        match value {
            Value::Array(list) if name.starts_with(&columns.prefix) => {
                if let Some(value) = list.get(best) {
                    kept.insert(name, value.clone());
                }
            }
            value => {
                kept.insert(name, value);
            }
        }
    }
    *row = kept;
    Some(())
}

/// The better response of a pair becomes `response`, and its scores lose their `chosen_` or `rejected_`.
fn better_of_pair(row: &mut Row, chosen: &str, rejected: &str, columns: &ScoreColumns) -> Option<()> {
    let margin = row.get(&columns.name("margin"))?;
    // If one response has no scores, the other one is better.
    let chosen_is_better =
        margin.as_f64().map_or_else(|| has_scores(row, "chosen_", columns), |margin| margin >= 0.0);
    let mut sides = [(chosen, columns.name("chosen_")), (rejected, columns.name("rejected_"))];
    if !chosen_is_better {
        sides.reverse();
    }
    let [(better, better_prefix), (worse, worse_prefix)] = sides;
    let mut kept = Row::new();
    for (name, value) in std::mem::take(row) {
        if name == worse || name.starts_with(&worse_prefix) {
            continue;
        }
        let name = if name == better {
            "response".into()
        } else if let Some(attribute) = name.strip_prefix(&better_prefix) {
            columns.name(attribute)
        } else {
            name
        };
        kept.insert(name, value);
    }
    *row = kept;
    Some(())
}

fn has_scores(row: &Row, side: &str, columns: &ScoreColumns) -> bool {
    let prefix = columns.name(side);
    row.iter().any(|(name, value)| name.starts_with(&prefix) && !value.is_null())
}
