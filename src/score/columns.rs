//! Scores into a row's columns.

use serde_json::{Number, Value};

use super::shape::Shape;
use super::{Judged, Row, Verdict};
use crate::reward::ranks;

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

/// Which of a row's responses have scores.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// All.
    Whole,
    /// Some.
    Partly,
    /// None.
    Failed,
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

    /// Adds the scores of a row's responses, and what kept those from having scores that have none.
    ///
    /// A single response gets a number for each attribute; a pair gets `chosen_` and `rejected_` ones and
    /// `margin` (chosen less rejected); a group gets a list for each attribute, the list `rank` (1 is the
    /// best; equals share the better rank), and `margin` (best less second). A response without scores has
    /// null in their place. A row without any gets none of these.
    ///
    /// # Errors
    /// The model has no such attribute.
    pub fn add(&self, row: &mut Row, shape: &Shape, verdicts: &[Verdict]) -> Result<(), String> {
        let judged: Vec<Option<&Judged>> = verdicts.iter().map(|verdict| verdict.as_ref().ok()).collect();
        let deciding = |judged: &Option<&Judged>| judged.map(|judged| self.deciding(judged)).transpose();
        let deciding = judged.iter().map(deciding).collect::<Result<Vec<_>, _>>()?;
        if deciding.iter().any(Option::is_some) {
            self.add_scores(row, shape, &judged, &deciding);
        }
        let faults = verdicts.iter().enumerate().filter_map(|(index, verdict)| {
            verdict.as_ref().err().map(|reason| shape.place(index, verdicts.len()) + reason)
        });
        let faults: Vec<String> = faults.collect();
        if !faults.is_empty() {
            self.fail(row, &faults.join("; "));
        }
        Ok(())
    }

    fn add_scores(&self, row: &mut Row, shape: &Shape, judged: &[Option<&Judged>], deciding: &[Option<f64>]) {
        match (shape, judged) {
            (Shape::Pair { .. }, [chosen, rejected]) => {
                for (side, judged, other) in [("chosen", chosen, rejected), ("rejected", rejected, chosen)] {
                    for attribute in attributes(&[judged.or(*other)]) {
                        row.insert(self.name(&format!("{side}_{attribute}")), score(*judged, attribute));
                    }
                }
                let margin = deciding[0].zip(deciding[1]).map(|(chosen, rejected)| chosen - rejected);
                row.insert(self.name("margin"), number(margin));
            }
            (Shape::Group { .. }, _) => {
                for attribute in attributes(judged) {
                    let column = judged.iter().map(|judged| score(*judged, attribute));
                    row.insert(self.name(attribute), column.collect());
                }
                row.insert(self.name("rank"), ranks(deciding).into_iter().map(Value::from).collect());
                row.insert(self.name("margin"), number(margin(deciding)));
            }
            _ => {
                for (attribute, score) in judged.iter().flatten().flat_map(|judged| &judged.scores) {
                    row.insert(self.name(attribute), number(Some(*score)));
                }
            }
        }
    }

    /// Which responses of a scored row have scores.
    pub fn standing(&self, row: &Row) -> Standing {
        let has = |name| row.contains_key(&self.name(name));
        match has("error") {
            false => Standing::Whole,
            true if has("margin") => Standing::Partly,
            true => Standing::Failed,
        }
    }

    /// The row that stands for one that could not be read or taken: why, and what stood there.
    pub fn unread(&self, reason: String, text: String) -> Row {
        let columns = [("error", reason), ("line", text)];
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

/// Attributes of any of the responses, in the order in which they first occur: of steps, one response may
/// have more than another.
fn attributes<'a>(judged: &[Option<&'a Judged>]) -> Vec<&'a str> {
    let mut names: Vec<&str> = Vec::new();
    for (attribute, _) in judged.iter().flatten().flat_map(|judged| &judged.scores) {
        if !names.contains(&attribute.as_str()) {
            names.push(attribute);
        }
    }
    names
}

fn score(judged: Option<&Judged>, attribute: &str) -> Value {
    let found = judged.and_then(|judged| judged.scores.iter().find(|(name, _)| name == attribute));
    number(found.map(|(_, score)| *score))
}

fn number(score: Option<f64>) -> Value {
    score.and_then(Number::from_f64).map_or(Value::Null, Value::Number)
}

/// The highest less the second; `None` of fewer than two.
fn margin(scores: &[Option<f64>]) -> Option<f64> {
    let mut sorted: Vec<f64> = scores.iter().flatten().copied().collect();
    sorted.sort_by(|a, b| b.total_cmp(a));
    Some(sorted.first()? - sorted.get(1)?)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::shape::Names;
    use super::*;

    fn added(row: Value, verdicts: &[Result<f64, &str>]) -> (Value, Standing) {
        let mut row = row.as_object().unwrap().clone();
        let shape = Shape::of(&row, &Names::default()).unwrap();
        let columns = Columns { prefix: String::new(), by: None };
        let verdict = |verdict: &Result<f64, &str>| match verdict {
            Ok(score) => Ok(Judged { scores: vec![("reward".into(), *score)], tokens: 1 }),
            Err(reason) => Err((*reason).to_owned()),
        };
        let before = row.len();
        columns.add(&mut row, &shape, &verdicts.iter().map(verdict).collect::<Vec<_>>()).unwrap();
        let standing = columns.standing(&row);
        (row.into_iter().skip(before).collect(), standing)
    }

    #[test]
    fn a_response_that_fails_is_null_and_named_and_the_others_have_their_scores() {
        let group = json!({"prompt": "p", "responses": ["a", "b", "c"]});
        let due = json!({"reward": [1.0, null, 3.5], "rank": [2, null, 1], "margin": 2.5,
                         "error": "response 2 of 3: too long"});
        assert_eq!(added(group.clone(), &[Ok(1.0), Err("too long"), Ok(3.5)]), (due, Standing::Partly));
        let due = json!({"error": "response 1 of 3: x; response 2 of 3: y; response 3 of 3: z"});
        assert_eq!(added(group, &[Err("x"), Err("y"), Err("z")]), (due, Standing::Failed));
        let pair = json!({"prompt": "p", "chosen": "a", "rejected": "b"});
        let due = json!({"chosen_reward": null, "rejected_reward": 2.0, "margin": null,
                         "error": "chosen: too long"});
        assert_eq!(added(pair.clone(), &[Err("too long"), Ok(2.0)]), (due, Standing::Partly));
        let due = json!({"chosen_reward": 2.5, "rejected_reward": 2.0, "margin": 0.5});
        assert_eq!(added(pair, &[Ok(2.5), Ok(2.0)]), (due, Standing::Whole));
        let single = json!({"prompt": "p", "response": "a"});
        assert_eq!(added(single, &[Err("too long")]), (json!({"error": "too long"}), Standing::Failed));
    }

    #[test]
    fn the_margin_of_a_group_is_between_its_best_two() {
        assert_eq!(margin(&[Some(1.0), None, Some(3.0), Some(2.5)]), Some(0.5));
        assert_eq!(margin(&[Some(1.0), None]), None);
    }
}
