//! Adds scores to a row's columns.

use serde_json::{Number, Value};

use super::shape::RowShape;
use super::{ConversationScores, Row, ScoreError, ScoreResult};
use crate::reward::ranks;

/// Names of added columns that are not attributes, without their prefix.
const NOT_ATTRIBUTES: [&str; 4] = ["rank", "margin", "error", "line"];

/// Names of the added columns.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct ScoreColumns {
    /// Start of all their names.
    pub(super) prefix: String,
    /// The attribute that ranks and margins follow; `None` for the model's first.
    pub(super) by: Option<String>,
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
    /// Full name of an added column.
    pub(super) fn name(&self, name: &str) -> String {
        format!("{}{name}", self.prefix)
    }

    /// A column of an input row that an added one would replace, or that would be taken for one.
    pub(super) fn collision<'a>(&self, row: &'a Row, shape: &RowShape) -> Option<&'a str> {
        row.keys().map(String::as_str).find(|name| self.is_taken_for_added(name, shape))
    }

    fn is_taken_for_added(&self, name: &str, shape: &RowShape) -> bool {
        let Some(rest) = name.strip_prefix(&self.prefix) else { return false };
        if NOT_ATTRIBUTES.contains(&rest) {
            return true;
        }
        match shape {
            // UltraFeedback's pairs come with `score_chosen` and `score_rejected`, which do no harm.
            RowShape::Pair { .. } => ["chosen_", "rejected_"].iter().any(|side| rest.starts_with(side)),
            _ => !self.prefix.is_empty(),
        }
    }

    /// The score that ranks and margins follow.
    ///
    /// # Errors
    /// [`ScoreError::UnknownAttribute`].
    fn ranking_score(&self, scores: &ConversationScores) -> Result<f64, ScoreError> {
        let found = match &self.by {
            None => scores.scores.first(),
            Some(by) => scores.scores.iter().find(|(attribute, _)| attribute == by),
        };
        found.map(|(_, score)| *score).ok_or_else(|| ScoreError::UnknownAttribute {
            by: self.by.clone().unwrap_or_default(),
            known: scores.scores.iter().map(|(attribute, _)| attribute.clone()).collect(),
        })
    }

    /// Adds the scores of a row's responses, and the reasons why others have none.
    ///
    /// A single response gets a number for each attribute. A pair gets `chosen_` and `rejected_` numbers,
    /// and `margin` (chosen minus rejected). A group gets a list for each attribute, the list `rank` (1 is
    /// the best; equal scores share the better rank), and `margin` (best minus second best). A response
    /// without scores has null in their place. A row in which no response has scores gets only `error`.
    ///
    /// # Errors
    /// [`ScoreError::UnknownAttribute`].
    pub(super) fn add(
        &self,
        row: &mut Row,
        shape: &RowShape,
        results: &[ScoreResult],
    ) -> Result<(), ScoreError> {
        let (mut scores, mut ranking, mut errors) = (Vec::new(), Vec::new(), Vec::new());
        for (index, result) in results.iter().enumerate() {
            match result {
                Ok(scored) => ranking.push(Some(self.ranking_score(scored)?)),
                Err(error) => {
                    ranking.push(None);
                    errors.push(format!("{}{error}", shape.error_prefix(index, results.len())));
                }
            }
            scores.push(result.as_ref().ok());
        }
        if ranking.iter().any(Option::is_some) {
            self.add_scores(row, shape, &scores, &ranking);
        }
        if !errors.is_empty() {
            self.add_error(row, &errors.join("; "));
        }
        Ok(())
    }

    /// Adds the columns with scores. `ranking` are the scores that ranks and margins follow.
    fn add_scores(
        &self,
        row: &mut Row,
        shape: &RowShape,
        scores: &[Option<&ConversationScores>],
        ranking: &[Option<f64>],
    ) {
        match (shape, scores) {
            (RowShape::Pair { .. }, [chosen, rejected]) => {
                for (side, scores, other) in [("chosen", chosen, rejected), ("rejected", rejected, chosen)] {
                    for attribute in attribute_names(&[scores.or(*other)]) {
                        row.insert(self.name(&format!("{side}_{attribute}")), score(*scores, attribute));
                    }
                }
                let margin = ranking[0].zip(ranking[1]).map(|(chosen, rejected)| chosen - rejected);
                row.insert(self.name("margin"), number(margin));
            }
            (RowShape::Group { .. }, _) => {
                for attribute in attribute_names(scores) {
                    let column = scores.iter().map(|scores| score(*scores, attribute));
                    row.insert(self.name(attribute), column.collect());
                }
                row.insert(self.name("rank"), ranks(ranking).into_iter().map(Value::from).collect());
                row.insert(self.name("margin"), number(margin(ranking)));
            }
            _ => {
                for (attribute, score) in scores.iter().flatten().flat_map(|scores| &scores.scores) {
                    row.insert(self.name(attribute), number(Some(*score)));
                }
            }
        }
    }

    /// Which responses of a row have scores, after [`ScoreColumns::add`].
    pub(super) fn status(&self, row: &Row) -> RowStatus {
        if !row.contains_key(&self.name("error")) {
            RowStatus::Scored
        } else if row.contains_key(&self.name("margin")) {
            RowStatus::PartlyScored
        } else {
            RowStatus::Failed
        }
    }

    /// A row in place of one that cannot be read or scored: the reason, and the text of the original.
    pub(super) fn unreadable_row(&self, reason: String, text: String) -> Row {
        let columns = [("error", reason), ("line", text)];
        columns.into_iter().map(|(name, value)| (self.name(name), Value::from(value))).collect()
    }

    /// Whether [`ScoreColumns::unreadable_row`] made a row.
    pub(super) fn is_unreadable(&self, row: &Row) -> bool {
        row.len() == 2 && ["error", "line"].iter().all(|name| row.contains_key(&self.name(name)))
    }

    /// Adds the reason why a row, or a response in it, has no scores.
    pub(super) fn add_error(&self, row: &mut Row, reason: &str) {
        row.insert(self.name("error"), reason.into());
    }
}

/// The score columns of a row, without their prefix; except for rank, margin, error and line.
pub(super) fn attribute_columns<'a>(
    row: &'a Row,
    prefix: &'a str,
) -> impl Iterator<Item = (&'a str, &'a Value)> {
    row.iter()
        .filter_map(move |(name, value)| Some((name.strip_prefix(prefix)?, value)))
        .filter(|(name, _)| !NOT_ATTRIBUTES.contains(name))
}

/// Attributes of any of the responses, in the order in which they first occur: where a model scores steps,
/// one response may have more than another.
fn attribute_names<'a>(scores: &[Option<&'a ConversationScores>]) -> Vec<&'a str> {
    let mut names: Vec<&str> = Vec::new();
    for (attribute, _) in scores.iter().flatten().flat_map(|scores| &scores.scores) {
        if !names.contains(&attribute.as_str()) {
            names.push(attribute);
        }
    }
    names
}

fn score(scores: Option<&ConversationScores>, attribute: &str) -> Value {
    let found = scores.and_then(|scores| scores.scores.iter().find(|(name, _)| name == attribute));
    number(found.map(|(_, score)| *score))
}

fn number(score: Option<f64>) -> Value {
    score.and_then(Number::from_f64).map_or(Value::Null, Value::Number)
}

/// The highest score minus the second highest; `None` for fewer than two.
fn margin(scores: &[Option<f64>]) -> Option<f64> {
    let mut sorted: Vec<f64> = scores.iter().flatten().copied().collect();
    sorted.sort_by(|a, b| b.total_cmp(a));
    Some(sorted.first()? - sorted.get(1)?)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::Unscored;
    use super::super::shape::ColumnNames;
    use super::*;

    fn added(row: &Value, results: &[Result<f64, &str>]) -> (Value, RowStatus) {
        let mut row = row.as_object().unwrap().clone();
        let shape = RowShape::detect(&row, &ColumnNames::default()).unwrap();
        let columns = ScoreColumns { prefix: String::new(), by: None };
        let result = |result: &Result<f64, &str>| match result {
            Ok(score) => Ok(ConversationScores { scores: vec![("reward".into(), *score)], tokens: 1 }),
            Err(reason) => Err(Unscored::Refused((*reason).to_owned())),
        };
        let before = row.len();
        columns.add(&mut row, &shape, &results.iter().map(result).collect::<Vec<_>>()).unwrap();
        let status = columns.status(&row);
        (row.into_iter().skip(before).collect(), status)
    }

    #[test]
    fn a_failed_response_is_null_and_the_others_keep_their_scores() {
        let group = json!({"prompt": "p", "responses": ["a", "b", "c"]});
        let due = json!({"reward": [1.0, null, 3.5], "rank": [2, null, 1], "margin": 2.5,
                         "error": "response 2 of 3: too long"});
        let scored = added(&group, &[Ok(1.0), Err("too long"), Ok(3.5)]);
        assert_eq!(scored, (due, RowStatus::PartlyScored));
        let due = json!({"error": "response 1 of 3: x; response 2 of 3: y; response 3 of 3: z"});
        assert_eq!(added(&group, &[Err("x"), Err("y"), Err("z")]), (due, RowStatus::Failed));
        let pair = json!({"prompt": "p", "chosen": "a", "rejected": "b"});
        let due = json!({"chosen_reward": null, "rejected_reward": 2.0, "margin": null,
                         "error": "chosen: too long"});
        assert_eq!(added(&pair, &[Err("too long"), Ok(2.0)]), (due, RowStatus::PartlyScored));
        let due = json!({"chosen_reward": 2.5, "rejected_reward": 2.0, "margin": 0.5});
        assert_eq!(added(&pair, &[Ok(2.5), Ok(2.0)]), (due, RowStatus::Scored));
        let single = json!({"prompt": "p", "response": "a"});
        assert_eq!(added(&single, &[Err("too long")]), (json!({"error": "too long"}), RowStatus::Failed));
    }

    #[test]
    fn the_margin_of_a_group_is_between_its_best_two() {
        assert_eq!(margin(&[Some(1.0), None, Some(3.0), Some(2.5)]), Some(0.5));
        assert_eq!(margin(&[Some(1.0), None]), None);
    }
}
