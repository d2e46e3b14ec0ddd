//! Collects scored rows for a report, an evaluation or a summary.

use super::ScoreError;
use super::columns::ScoreColumns;
use super::forms::{Found, Holds, RowLayout};
use super::row::Row;
use super::scores_of_row::{NamedScores, ranking_score, scores_of_row};
use super::subset::subset;
use crate::report::{ReportData, Response};
use crate::reward::RankedBy;

/// Builds [`ReportData`] from scored rows of one form.
pub(super) struct ReportDataBuilder {
    layout: RowLayout,
    columns: ScoreColumns,
    /// `None` until a row has scores.
    data: Option<ReportData>,
    failed: usize,
    partly_scored: usize,
}

impl ReportDataBuilder {
    pub(super) fn new(mut layout: RowLayout, columns: ScoreColumns) -> Self {
        // A report only shows the steps, whatever the token that the model read after each.
        layout.show_steps();
        Self { layout, columns, data: None, failed: 0, partly_scored: 0 }
    }

    /// Adds a row. It counts as failed if it has no scores, and as partly scored if only some of its
    /// responses have scores.
    ///
    /// # Errors
    /// [`ScoreError::UnknownAttribute`].
    pub(super) fn add(&mut self, row: &Row) -> Result<(), ScoreError> {
        if self.columns.by.is_none() {
            self.columns.by = self.ranked_by(row);
        }
        let found = self.layout.found(row).unwrap_or_default();
        let scores = scores_of_row(row, self.layout.holds(), &found, &self.columns);
        let scores: Vec<NamedScores> = scores.into_iter().map(|scores| self.shown(scores)).collect();
        let Some(attributes) = scores.iter().find(|scores| !scores.is_empty()).map(names) else {
            self.failed += 1;
            return Ok(());
        };
        // In CSV and Parquet files, every row has every column.
        let error = row.get(&self.columns.name("error")).filter(|error| !error.is_null());
        self.partly_scored += usize::from(error.is_some_and(|error| error.json() != "\"\""));
        let data = match &mut self.data {
            Some(data) => data,
            none => {
                let ranking = ranking_attribute(&attributes, self.columns.by.as_ref())?;
                none.insert(ReportData::new(attributes.clone(), ranking))
            }
        };
        if attributes != data.attributes {
            data.other_attributes += 1;
            return Ok(());
        }
        let subset = subset(row);
        match self.layout.holds() {
            Holds::Pair | Holds::Lists => {
                data.add_chosen_and_rejected(&subset, found.chosen, responses(&found, &scores));
            }
            Holds::Group => {
                let responses = responses(&found, &scores);
                for (better, worse) in rated_pairs(&found) {
                    data.compare(&subset, &responses[better..=better], &responses[worse..=worse]);
                }
                data.add_row(responses);
            }
            Holds::One | Holds::Steps => data.add_row(responses(&found, &scores)),
        }
        Ok(())
    }

    pub(super) fn finish(self) -> ReportData {
        let mut data = self.data.unwrap_or_default();
        (data.failed, data.partly_scored) = (self.failed, self.partly_scored);
        data
    }

    /// The score that ranked a row, if it is not the first.
    fn ranked_by(&self, row: &Row) -> Option<RankedBy> {
        let name = row.get(&self.columns.name("ranked_by"))?.as_text()?;
        if name.is_empty() { None } else { Some(RankedBy::parse(&name)) }
    }

    /// The scores to show. Responses may differ in their number of steps, so the steps are summarised.
    fn shown(&self, scores: NamedScores) -> NamedScores {
        let Some(step) = self.columns.by.as_ref().and_then(RankedBy::step) else { return scores };
        let mut shown = Vec::new();
        for name in RankedBy::summaries(step) {
            let value = ranking_score(&scores, Some(&RankedBy::parse(&name)));
            shown.extend(value.map(|value| (name, value)));
        }
        if shown.is_empty() { scores } else { shown }
    }
}

fn names(scores: &NamedScores) -> Vec<String> {
    scores.iter().map(|(name, _)| name.clone()).collect()
}

/// The responses of a row. One that is not a conversation has neither text nor scores.
fn responses(found: &Found, scores: &[NamedScores]) -> Vec<Response> {
    let mut responses = Vec::with_capacity(found.candidates.len());
    for (candidate, scores) in found.candidates.iter().zip(scores) {
        let turns = candidate.turns.as_deref().unwrap_or_default();
        responses.push(match turns.split_last() {
            None => Response::default(),
            Some((last, before)) => {
                let prompt: Vec<&str> = before.iter().map(|turn| turn.content.as_str()).collect();
                Response {
                    prompt: prompt.join("\n\n"),
                    text: last.content.clone(),
                    scores: scores.iter().map(|(_, score)| *score).collect(),
                }
            }
        });
    }
    responses
}

/// Every pair of responses to one prompt in which people or a stronger model preferred the first.
pub(super) fn rated_pairs(found: &Found) -> Vec<(usize, usize)> {
    let mut pairs = Vec::new();
    for (better, a) in found.ratings.iter().enumerate() {
        for (worse, b) in found.ratings.iter().enumerate() {
            if found.are_rivals(better, worse) && a.zip(*b).is_some_and(|(a, b)| a > b) {
                pairs.push((better, worse));
            }
        }
    }
    pairs
}

/// Index of the attribute that ranks responses: `by`, or the first.
fn ranking_attribute(attributes: &[String], by: Option<&RankedBy>) -> Result<usize, ScoreError> {
    let Some(by) = by else { return Ok(0) };
    let index = attributes.iter().position(|attribute| attribute == by.name());
    index.ok_or_else(|| ScoreError::UnknownAttribute { by: by.name().to_owned(), known: attributes.to_vec() })
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::super::forms::FormArgs;
    use super::*;

    fn collected(rows: &[Value]) -> ReportData {
        let row = |row: &Value| Row::parse(&row.to_string()).unwrap();
        let layout = RowLayout::detect(&row(&rows[0]), &FormArgs::default()).unwrap();
        let mut builder = ReportDataBuilder::new(layout, ScoreColumns::new("score_", None));
        rows.iter().for_each(|one| builder.add(&row(one)).unwrap());
        builder.finish()
    }

    #[test]
    fn rows_without_all_scores_are_counted() {
        let group = |scores: Value, error: Value| json!({"prompt": "p", "responses": ["a", "b"], "score_reward": scores, "score_error": error});
        let rows = [
            group(json!([1.0, 2.0]), Value::Null),
            group(json!("[3.0, null]"), json!("response 2 of 2: too long")),
            group(json!(""), json!("too long")),
        ];
        let data = collected(&rows);
        assert_eq!(data.sample.scores[0], [1.0, 2.0, 3.0]);
        assert_eq!((data.failed, data.partly_scored, data.other_attributes), (1, 1, 0));
    }

    #[test]
    fn steps_may_have_empty_lines() {
        let row = json!({"prompt": "p", "completions": ["a\n\nb", "c"], "labels": [true, false], "score_step_1": 0.5,
                         "score_step_2": 0.25});
        let data = collected(&[row]);
        assert_eq!((data.responses(), data.failed), (1, 0));
        assert_eq!(data.sample.scores, [[0.5], [0.25]]);
    }

    #[test]
    fn rows_with_other_steps_have_not_failed() {
        let row = |scores: Value| {
            let mut row = json!({"prompt": "p", "response": "a"}).as_object().unwrap().clone();
            row.extend(scores.as_object().unwrap().clone());
            Value::Object(row)
        };
        let rows = [
            row(json!({"score_step_1": 0.5})),
            row(json!({"score_step_1": 0.5, "score_step_2": 0.25})),
            row(json!({"score_step_1": 0.75})),
        ];
        let data = collected(&rows);
        assert_eq!((data.responses(), data.failed, data.partly_scored, data.other_attributes), (2, 0, 0, 1));
    }
}
