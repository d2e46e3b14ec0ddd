//! `--best-of` and `--filter`: which rows and responses are kept.

use std::collections::HashMap;

use serde_json::Value;
use sha2::{Digest, Sha256};

use super::best_of::replace_by_best;
use super::columns::{RowStatus, ScoreColumns, attribute_columns};
use super::filter::{Filter, UnknownName};
use super::shape::RowShape;
use super::{Row, ScoreError};

/// What to keep of the scored rows.
#[derive(Clone, Debug, Default)]
pub(super) struct Selection {
    /// Keep only the best response to each prompt.
    pub(super) best_of: bool,
    /// Keep only rows or responses that this is true for.
    pub(super) filter: Option<Filter>,
}

/// Applies a selection to the rows of one run. First [`Selector::observe`] sees every row, then
/// [`Selector::keep`] may be called for each, as often as needed.
pub(super) struct Selector<'a> {
    selection: &'a Selection,
    shape: &'a RowShape,
    columns: &'a ScoreColumns,
    /// For each prompt, by its digest: the best score, and the index of the row that has it.
    best: HashMap<[u8; 16], (f64, usize)>,
    observed: usize,
}

impl<'a> Selector<'a> {
    pub(super) fn new(selection: &'a Selection, shape: &'a RowShape, columns: &'a ScoreColumns) -> Self {
        Self { selection, shape, columns, best: HashMap::new(), observed: 0 }
    }

    /// Takes note of the next row.
    pub(super) fn observe(&mut self, row: &Row) {
        let index = self.observed;
        self.observed += 1;
        if !self.selection.best_of || !self.has_one_response_per_row() {
            return;
        }
        let Some(score) = self.ranking_score(row) else { return };
        let Some(prompt) = prompt_digest(row, self.shape) else { return };
        let best = self.best.entry(prompt).or_insert((score, index));
        // Among equal scores, the first row wins.
        if score > best.0 {
            *best = (score, index);
        }
    }

    /// Checks that the names in the filter are scores of `row`. Returns false if the row has no scores to
    /// check against.
    ///
    /// # Errors
    /// [`ScoreError::UnknownScore`].
    pub(super) fn check(&self, row: &Row) -> Result<bool, ScoreError> {
        let Some(filter) = &self.selection.filter else { return Ok(true) };
        let mut row = row.clone();
        if self.columns.status(&row) == RowStatus::Failed {
            return Ok(false);
        }
        if self.selection.best_of && !replace_by_best(&mut row, self.shape, self.columns) {
            return Ok(false);
        }
        self.filter_row(filter, row).map(|_| true)
    }

    /// What is kept of the row at `index`, if anything. A response without scores is never the best, and
    /// passes no filter; nor does a pair in which one response has no scores.
    ///
    /// # Errors
    /// [`ScoreError::UnknownScore`].
    pub(super) fn keep(&self, index: usize, mut row: Row) -> Result<Option<Row>, ScoreError> {
        let status = self.columns.status(&row);
        if self.selection.best_of {
            if self.has_one_response_per_row() && !self.is_best(index, &row) {
                return Ok(None);
            }
            if !replace_by_best(&mut row, self.shape, self.columns) {
                return Ok(None);
            }
        }
        let Some(filter) = &self.selection.filter else { return Ok(Some(row)) };
        let is_pair = !self.selection.best_of && matches!(self.shape, RowShape::Pair { .. });
        match status {
            RowStatus::Failed => Ok(None),
            RowStatus::PartlyScored if is_pair => Ok(None),
            _ => self.filter_row(filter, row),
        }
    }

    /// Whether the responses to a prompt are in separate rows.
    fn has_one_response_per_row(&self) -> bool {
        matches!(self.shape, RowShape::Single { .. } | RowShape::Messages { .. })
    }

    /// Whether no row with the same prompt has a better response than the row at `index`.
    fn is_best(&self, index: usize, row: &Row) -> bool {
        let best = prompt_digest(row, self.shape).and_then(|prompt| self.best.get(&prompt));
        self.ranking_score(row).is_some() && best.is_some_and(|(_, best)| *best == index)
    }

    /// The score that decides which of several rows is the best.
    fn ranking_score(&self, row: &Row) -> Option<f64> {
        match &self.columns.by {
            Some(by) => row.get(&self.columns.name(by))?.as_f64(),
            None => attribute_columns(row, &self.columns.prefix).next().and_then(|(_, value)| value.as_f64()),
        }
    }

    fn filter_row(&self, filter: &Filter, row: Row) -> Result<Option<Row>, ScoreError> {
        match self.shape {
            // After `--best-of`, a group has one response and no list.
            RowShape::Group { responses, .. } if row.contains_key(responses) => {
                self.filter_responses(filter, responses, row)
            }
            _ => {
                let score = |name: &str| filter_value(row.get(&self.columns.name(name))?);
                let matches = filter.matches(&score).map_err(|error| self.unknown_score(error, &row))?;
                Ok(matches.then_some(row))
            }
        }
    }

    /// Keeps the responses of a group that the filter is true for; `None` if there are none.
    fn filter_responses(
        &self,
        filter: &Filter,
        responses: &str,
        mut row: Row,
    ) -> Result<Option<Row>, ScoreError> {
        let texts = self.shape.responses(&row).map(|texts| texts.into_owned()).unwrap_or_default();
        let ranks = row.get(&self.columns.name("rank")).and_then(Value::as_array);
        let mut kept = Vec::with_capacity(texts.len());
        for index in 0..texts.len() {
            let score = |name: &str| match row.get(&self.columns.name(name))? {
                Value::Array(list) => filter_value(list.get(index)?),
                value => filter_value(value),
            };
            let matches = filter.matches(&score).map_err(|error| self.unknown_score(error, &row))?;
            let is_scored = ranks.and_then(|ranks| ranks.get(index)).is_some_and(|rank| !rank.is_null());
            kept.push(matches && is_scored);
        }
        for (name, value) in &mut row {
            if name == responses {
                *value = only_kept(&texts, &kept);
            } else if let Value::Array(list) = value
                && name.starts_with(&self.columns.prefix)
            {
                *value = only_kept(list, &kept);
            }
        }
        Ok(kept.contains(&true).then_some(row))
    }

    fn unknown_score(&self, UnknownName(name): UnknownName, row: &Row) -> ScoreError {
        let prefix = self.columns.prefix.as_str();
        let known = row.keys().filter_map(|column| column.strip_prefix(prefix)).map(str::to_owned);
        ScoreError::UnknownScore { name, known: known.collect() }
    }
}

fn only_kept(list: &[Value], kept: &[bool]) -> Value {
    list.iter().zip(kept).filter(|(_, kept)| **kept).map(|(value, _)| value.clone()).collect()
}

/// A score as a filter sees it. A missing one, such as the margin of a lone response, is NaN, for which no
/// comparison is true.
fn filter_value(value: &Value) -> Option<f64> {
    if value.is_null() { Some(f64::NAN) } else { value.as_f64() }
}

/// Identifies the prompt of a row with one response.
fn prompt_digest(row: &Row, shape: &RowShape) -> Option<[u8; 16]> {
    let text = match shape {
        RowShape::Single { prompt, .. } => row.get(prompt)?.to_string(),
        RowShape::Messages { .. } => {
            let conversation = shape.conversations(row).ok()?.pop()?.ok()?;
            let (_, prompt) = conversation.split_last()?;
            format!("{prompt:?}")
        }
        _ => return None,
    };
    Sha256::digest(text.as_bytes())[..16].try_into().ok()
}

#[cfg(test)]
mod tests {
    use std::slice::from_ref;

    use serde_json::json;

    use super::super::shape::ColumnNames;
    use super::*;

    fn kept(selection: &Selection, rows: &[Value]) -> Vec<Value> {
        let rows: Vec<Row> = rows.iter().map(|row| row.as_object().unwrap().clone()).collect();
        let shape = RowShape::detect(&rows[0], &ColumnNames::default()).unwrap();
        let columns = ScoreColumns { prefix: "score_".into(), by: None };
        let mut selector = Selector::new(selection, &shape, &columns);
        rows.iter().for_each(|row| selector.observe(row));
        let rows = rows.into_iter().enumerate();
        rows.filter_map(|(index, row)| selector.keep(index, row).unwrap()).map(Value::Object).collect()
    }

    fn best_of() -> Selection {
        Selection { best_of: true, filter: None }
    }

    #[test]
    fn the_best_of_rows_with_one_prompt_keeps_its_place() {
        let row = |prompt: &str, response: &str, score: f64| json!({"prompt": prompt, "response": response, "score_reward": score});
        let rows = [row("p", "a", 1.0), row("q", "b", 0.0), row("p", "c", 2.0), row("p", "d", 2.0)];
        assert_eq!(kept(&best_of(), &rows), [row("q", "b", 0.0), row("p", "c", 2.0)]);
    }

    #[test]
    fn the_best_of_a_group_replaces_the_list() {
        let row = json!({"prompt": "p", "responses": ["a", "b"], "id": 7, "score_reward": [1.0, 2.0],
                         "score_rank": [2, 1], "score_margin": 1.0});
        let best = json!({"prompt": "p", "response": "b", "id": 7, "score_reward": 2.0, "score_rank": 1,
                          "score_margin": 1.0});
        assert_eq!(kept(&best_of(), &[row]), [best]);
    }

    #[test]
    fn the_better_response_of_a_pair_is_kept() {
        let row = |margin: f64| {
            json!({"prompt": "p", "chosen": "a", "rejected": "b", "score_chosen_reward": 1.0,
                   "score_rejected_reward": 1.0 - margin, "score_margin": margin})
        };
        let best = |text: &str, score: f64, margin: f64| json!({"prompt": "p", "response": text, "score_reward": score, "score_margin": margin});
        assert_eq!(kept(&best_of(), &[row(0.5), row(-2.0)]), [best("a", 1.0, 0.5), best("b", 3.0, -2.0)]);
    }

    #[test]
    fn a_filter_keeps_rows_and_in_groups_responses() {
        let selection = Selection { best_of: false, filter: Some("reward>=2".parse().unwrap()) };
        let single = |score: f64| json!({"prompt": "p", "response": "a", "score_reward": score});
        let failed = json!({"prompt": "p", "response": "a", "score_error": "too long"});
        assert_eq!(kept(&selection, &[single(1.0), single(2.0), failed]), [single(2.0)]);
        let group = json!({"prompt": "p", "responses": ["a", "b", "c"], "score_reward": [1.0, 2.0, 3.0],
                           "score_rank": [3, 2, 1], "score_margin": 1.0});
        let left = json!({"prompt": "p", "responses": ["b", "c"], "score_reward": [2.0, 3.0],
                          "score_rank": [2, 1], "score_margin": 1.0});
        assert_eq!(kept(&selection, &[group]), [left]);
    }

    #[test]
    fn a_response_without_scores_is_never_the_best_and_passes_no_filter() {
        let group = json!({"prompt": "p", "responses": ["a", "b", "c"], "score_reward": [1.0, null, 3.0],
                           "score_rank": [2, null, 1], "score_margin": 2.0,
                           "score_error": "response 2 of 3: too long"});
        let best = json!({"prompt": "p", "response": "c", "score_reward": 3.0, "score_rank": 1, "score_margin": 2.0,
                          "score_error": "response 2 of 3: too long"});
        assert_eq!(kept(&best_of(), from_ref(&group)), from_ref(&best));
        let filtered = |best_of, filter: &str, row: &Value| {
            kept(&Selection { best_of, filter: Some(filter.parse().unwrap()) }, from_ref(row))
        };
        let left = json!({"prompt": "p", "responses": ["a"], "score_reward": [1.0], "score_rank": [2],
                          "score_margin": 2.0, "score_error": "response 2 of 3: too long"});
        assert_eq!(filtered(false, "not reward>2", &group), [left]);
        assert_eq!(filtered(true, "reward>2", &group), [best]);

        let pair = json!({"prompt": "p", "chosen": "a", "rejected": "b", "score_chosen_reward": null,
                          "score_rejected_reward": 1.0, "score_margin": null, "score_error": "chosen: too long"});
        let better = json!({"prompt": "p", "response": "b", "score_reward": 1.0, "score_margin": null,
                            "score_error": "chosen: too long"});
        assert_eq!(kept(&best_of(), from_ref(&pair)), [better]);
        assert!(filtered(false, "not margin>5", &pair).is_empty());
        assert_eq!(filtered(true, "reward>0", &pair).len(), 1);
        let failed =
            json!({"prompt": "p", "chosen": "a", "rejected": "b", "score_error": "chosen: x; rejected: y"});
        assert!(kept(&best_of(), &[pair.clone(), failed])[1..].is_empty());
    }
}
