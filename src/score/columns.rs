//! The columns that scoring adds to rows: their names, and which columns of the input look like them.

use super::conversation::list;
use super::forms::{Holds, RowLayout};
use super::row::{Cell, Row};
use crate::manifest::OTHER_COLUMNS;
use crate::reward::RankedBy;

/// What the attributes of chosen and rejected responses start with.
pub(super) const SIDES: [&str; 2] = ["chosen_", "rejected_"];
/// The column with the signatures of scores.
pub(super) const SIGNATURE: &str = "signature";

/// Names of the added columns.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct ScoreColumns {
    /// Start of all their names.
    pub(super) prefix: String,
    /// The score that ranks and margins follow; `None` for the first.
    pub(super) by: Option<RankedBy>,
    /// Names of the scores that every conversation has, as far as they are known.
    pub(super) attributes: Vec<String>,
}

/// Which responses of a row have scores.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum RowStatus {
    Scored,
    /// Some have scores.
    PartlyScored,
    Failed,
}

impl ScoreColumns {
    /// Columns of the prefix `prefix`, ranked by the score that is called `by`.
    pub(super) fn new(prefix: &str, by: Option<&str>) -> Self {
        Self { prefix: prefix.to_owned(), by: by.map(RankedBy::parse), attributes: Vec::new() }
    }

    /// Full name of an added column.
    pub(super) fn name(&self, name: &str) -> String {
        format!("{}{name}", self.prefix)
    }

    /// The name of an added column without the prefix; `None` if the column is not an added one.
    pub(super) fn added<'a>(&self, column: &'a str) -> Option<&'a str> {
        let name = column.strip_prefix(&self.prefix)?;
        if OTHER_COLUMNS.contains(&name) {
            return Some(name);
        }
        let attribute = SIDES.iter().find_map(|side| name.strip_prefix(side)).unwrap_or(name);
        if attribute == SIGNATURE {
            return Some(name);
        }
        let is_known = if self.attributes.is_empty() && !self.has_steps() {
            !self.prefix.is_empty()
        } else {
            self.attributes.iter().any(|known| known == attribute) || self.is_step(attribute)
        };
        is_known.then_some(name)
    }

    /// The columns with scores, without their prefix.
    pub(super) fn scores<'a>(&'a self, row: &'a Row) -> impl Iterator<Item = (&'a str, &'a Cell)> {
        row.columns()
            .filter_map(move |(column, cell)| Some((self.added(column)?, cell)))
            .filter(|(name, _)| !OTHER_COLUMNS.contains(name) && !is_signature(name))
    }

    fn has_steps(&self) -> bool {
        self.by.as_ref().is_some_and(|by| by.step().is_some())
    }

    fn is_step(&self, attribute: &str) -> bool {
        let step = self.by.as_ref().and_then(RankedBy::step);
        let number = step.and_then(|step| attribute.strip_prefix(step)?.strip_prefix('_'));
        number.is_some_and(|number| number.parse::<usize>().is_ok())
    }

    /// A column of an input row that an added column would replace, or that looks like an added one.
    pub(super) fn collision<'a>(&self, row: &'a Row, layout: &RowLayout) -> Option<&'a str> {
        let taken = |(name, cell): &(&str, &Cell)| self.is_taken_for_added(name, cell, layout.holds());
        row.columns().find(taken).map(|(name, _)| name)
    }

    /// As [`ScoreColumns::collision`], before the attributes are known.
    pub(super) fn certain_collision<'a>(&self, row: &'a Row) -> Option<&'a str> {
        let is_fixed =
            |name: &&str| name.strip_prefix(&self.prefix).is_some_and(|name| OTHER_COLUMNS.contains(&name));
        row.names().find(is_fixed)
    }

    fn is_taken_for_added(&self, column: &str, cell: &Cell, holds: Holds) -> bool {
        let Some(name) = column.strip_prefix(&self.prefix) else { return false };
        if OTHER_COLUMNS.contains(&name) {
            return true;
        }
        let has_side = SIDES.iter().any(|side| name.starts_with(side));
        let has_sides = matches!(holds, Holds::Pair | Holds::Lists);
        if has_sides && !has_side || self.prefix.is_empty() && has_side != has_sides {
            return false;
        }
        // A server that does not name its attributes may have any; those of several responses are lists, and the
        // `score_A` of SHP is not.
        let may_be_added = !self.attributes.is_empty()
            || self.has_steps()
            || holds != Holds::Group
            || list(&cell.value()).is_some();
        may_be_added && self.added(column).is_some()
    }

    /// Which responses of a row have scores, after [`ScoreColumns::add`].
    pub(super) fn status(&self, row: &Row) -> RowStatus {
        if !row.contains(&self.name("error")) {
            RowStatus::Scored
        } else if row.contains(&self.name("margin")) {
            RowStatus::PartlyScored
        } else {
            RowStatus::Failed
        }
    }

    /// A row in place of one that cannot be read or scored: the reason, and the text of the original.
    pub(super) fn unreadable_row(&self, reason: &str, text: &str) -> Row {
        let columns = [("error", reason), ("line", text)];
        columns.into_iter().map(|(name, value)| (self.name(name), Cell::text(value))).collect()
    }

    /// Whether [`ScoreColumns::unreadable_row`] made a row.
    pub(super) fn is_unreadable(&self, row: &Row) -> bool {
        row.len() == 2 && ["error", "line"].iter().all(|name| row.contains(&self.name(name)))
    }

    /// Adds the reason why a row, or a response in it, has no scores.
    pub(super) fn add_error(&self, row: &mut Row, reason: &str) {
        row.set(&self.name("error"), Cell::text(reason));
    }
}

/// Whether a column holds the signatures of one side.
fn is_signature(name: &str) -> bool {
    SIDES.iter().any(|side| name.strip_prefix(side) == Some(SIGNATURE))
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::super::forms::FormArgs;
    use super::*;

    fn layout(row: &Value) -> (Row, RowLayout) {
        let row = Row::parse(&row.to_string()).unwrap();
        let layout = RowLayout::detect(&row, &FormArgs::default()).unwrap();
        (row, layout)
    }

    #[test]
    fn without_a_prefix_a_column_that_is_called_like_an_attribute_would_be_replaced() {
        let (row, layout) = layout(&json!({"prompt": "p", "response": "a", "helpfulness": 3}));
        let mut columns = ScoreColumns::new("", None);
        columns.attributes = vec!["verbosity".into()];
        assert_eq!(columns.collision(&row, &layout), None);
        columns.attributes.push("helpfulness".into());
        assert_eq!(columns.collision(&row, &layout), Some("helpfulness"));
        assert_eq!(ScoreColumns::new("score_", None).collision(&row, &layout), None);
    }

    #[test]
    fn only_columns_that_would_be_added_collide() {
        let shp = json!({"history": "q", "human_ref_A": "a", "human_ref_B": "b", "labels": 1, "score_A": 9,
                         "score_B": 2, "score_ratio": 4.5});
        let webgpt = json!({"question": {"full_text": "q"}, "answer_0": "a", "answer_1": "b", "score_0": 0.5,
                            "score_1": -0.5});
        let single = json!({"prompt": "p", "response": "a", "score_A": 1});
        for (value, attributes, taken) in [
            (&shp, vec![], None),
            (&shp, vec!["reward"], None),
            (&shp, vec!["reward", "B"], Some("score_B")),
            (&webgpt, vec!["reward"], None),
            (&single, vec!["reward"], None),
            (&single, vec![], Some("score_A")),
        ] {
            let (row, layout) = layout(value);
            let mut columns = ScoreColumns::new("score_", None);
            columns.attributes = attributes.into_iter().map(str::to_owned).collect();
            assert_eq!(columns.collision(&row, &layout), taken, "{value}");
            assert_eq!(columns.certain_collision(&row), None, "{value}");
        }
        let (row, _) = layout(&json!({"prompt": "p", "response": "a", "score_error": ""}));
        assert_eq!(ScoreColumns::new("score_", None).certain_collision(&row), Some("score_error"));
    }
}
