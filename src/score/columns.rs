//! Scores into a row's columns.

use serde_json::{Number, Value};

use super::judge::Judged;
use super::shape::Shape;
use super::{Row, ScoreError};

/// Names of added columns that are no attributes.
pub const OTHERS: [&str; 4] = ["rank", "margin", "error", "line"];

/// What the added columns are called.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Columns {
    /// What all of them begin with.
    pub prefix: String,
    /// The attribute that ranks and margins follow; the model's first where it is `None`.
    pub by: Option<String>,
}

impl Columns {
    /// Name of the column for `name`.
    pub fn name(&self, name: &str) -> String {
        format!("{}{name}", self.prefix)
    }

    /// A column of the row that an added one would replace, or that would be taken for one.
    pub fn collision<'a>(&self, row: &'a Row, shape: &Shape) -> Option<&'a str> {
        let added = |name: &str| match (name.strip_prefix(&self.prefix), shape) {
            (None, _) => false,
            // UltraFeedback's pairs come with `score_chosen` and `score_rejected`, which are in no way.
            (Some(rest), Shape::Pair { .. }) => {
                ["chosen_", "rejected_"].iter().any(|side| rest.starts_with(side)) || OTHERS.contains(&rest)
            }
            (Some(rest), _) => !self.prefix.is_empty() || OTHERS.contains(&rest),
        };
        row.keys().map(String::as_str).find(|name| added(name))
    }

    /// The score that ranks follow.
    ///
    /// # Errors
    /// The model has no such attribute.
    pub fn deciding(&self, judged: &Judged) -> Result<f64, String> {
        let found = match &self.by {
            None => judged.scores.first(),
            Some(by) => judged.scores.iter().find(|(attribute, _)| attribute == by),
        };
        found.map(|(_, score)| *score).ok_or_else(|| {
            let has: Vec<&str> = judged.scores.iter().map(|(attribute, _)| attribute.as_str()).collect();
            format!(
                "the model has no attribute `{}`; it has {}",
                self.by.as_deref().unwrap_or(""),
                has.join(", ")
            )
        })
    }

    /// Adds the scores of a row's conversations.
    ///
    /// A single response gets a number for each attribute; a pair gets `chosen_` and `rejected_` ones and
    /// `margin` (chosen less rejected); a group gets a list for each attribute, the list `rank` (1 is the
    /// best; equals share the better rank), and `margin` (best less second).
    ///
    /// # Errors
    /// The model has no such attribute.
    pub fn add(&self, row: &mut Row, shape: &Shape, judged: &[Judged]) -> Result<(), String> {
        let deciding = judged.iter().map(|judged| self.deciding(judged)).collect::<Result<Vec<_>, _>>()?;
        match (shape, judged) {
            (Shape::Pair { .. }, [chosen, rejected]) => {
                for (side, judged) in [("chosen", chosen), ("rejected", rejected)] {
                    for (attribute, score) in &judged.scores {
                        row.insert(self.name(&format!("{side}_{attribute}")), number(*score));
                    }
                }
                row.insert(self.name("margin"), number(deciding[0] - deciding[1]));
            }
            (Shape::Group { .. }, _) => {
                let attributes = judged.first().map(|judged| judged.scores.as_slice()).unwrap_or_default();
                for (index, (attribute, _)) in attributes.iter().enumerate() {
                    let column = judged.iter().filter_map(|judged| judged.scores.get(index));
                    row.insert(self.name(attribute), column.map(|(_, score)| number(*score)).collect());
                }
                row.insert(self.name("rank"), ranks(&deciding).into_iter().map(Value::from).collect());
                row.insert(self.name("margin"), margin(&deciding).map_or(Value::Null, number));
            }
            _ => {
                for (attribute, score) in judged.iter().flat_map(|judged| &judged.scores) {
                    row.insert(self.name(attribute), number(*score));
                }
            }
        }
        Ok(())
    }

    /// The row that stands for one that could not be read: why, and what stood there.
    pub fn unread(&self, error: &ScoreError, text: &str) -> Row {
        let columns = [("error", error.to_string()), ("line", text.to_owned())];
        columns.into_iter().map(|(name, value)| (self.name(name), Value::from(value))).collect()
    }

    /// Whether the row is [`Columns::unread`].
    pub fn is_unread(&self, row: &Row) -> bool {
        row.len() == 2 && ["error", "line"].iter().all(|name| row.contains_key(&self.name(name)))
    }

    /// Says in the row why it has no scores.
    pub fn fail(&self, row: &mut Row, reason: &str) {
        row.insert(self.name("error"), reason.into());
    }
}

fn number(score: f64) -> Value {
    Number::from_f64(score).map_or(Value::Null, Value::Number)
}

/// 1 for the highest; equals share the better rank.
pub fn ranks(scores: &[f64]) -> Vec<usize> {
    scores.iter().map(|score| 1 + scores.iter().filter(|other| *other > score).count()).collect()
}

/// The highest less the second; `None` of fewer than two.
fn margin(scores: &[f64]) -> Option<f64> {
    let mut sorted = scores.to_vec();
    sorted.sort_by(|a, b| b.total_cmp(a));
    Some(sorted.first()? - sorted.get(1)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equals_share_the_better_rank() {
        assert_eq!(ranks(&[1.0, 3.0, 3.0, -2.0]), [3, 1, 1, 4]);
        assert_eq!(margin(&[1.0, 3.0, 2.5]), Some(0.5));
        assert_eq!(margin(&[1.0]), None);
    }
}
