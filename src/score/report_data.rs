//! Collects scored rows for a report, an evaluation or a summary.

use serde_json::Value;

use super::columns::{ScoreColumns, attribute_columns};
use super::conversation::list;
use super::shape::RowShape;
use super::{Row, ScoreError};
use crate::report::{ReportData, Response};

/// Builds [`ReportData`] from scored rows of one shape.
pub(super) struct ReportDataBuilder {
    shape: RowShape,
    columns: ScoreColumns,
    /// `None` until a row has scores.
    data: Option<ReportData>,
    failed: usize,
    partly_scored: usize,
}

impl ReportDataBuilder {
    pub(super) fn new(shape: RowShape, columns: ScoreColumns) -> Self {
        Self { shape, columns, data: None, failed: 0, partly_scored: 0 }
    }

    /// Adds a row. It counts as failed if it has no scores, and as partly scored if only some of its
    /// responses have scores.
    ///
    /// # Errors
    /// [`ScoreError::UnknownAttribute`].
    pub(super) fn add(&mut self, row: &Row) -> Result<(), ScoreError> {
        let mut responses = self.responses(row);
        responses.retain(|response| !response.scores.is_empty());
        let attributes = self.attributes(row);
        if attributes.is_empty() || responses.is_empty() {
            self.failed += 1;
            return Ok(());
        }
        // In CSV and Parquet files, every row has every column.
        let error = row.get(&self.columns.name("error")).filter(|error| !error.is_null());
        self.partly_scored += usize::from(error.is_some_and(|error| error != ""));
        let data = match &mut self.data {
            Some(data) => data,
            none => {
                let ranking = ranking_attribute(&attributes, self.columns.by.as_deref())?;
                none.insert(ReportData::new(attributes.clone(), ranking))
            }
        };
        if attributes != data.attributes {
            data.other_attributes += 1;
            return Ok(());
        }
        match (&self.shape, <[Response; 2]>::try_from(responses)) {
            (RowShape::Pair { .. }, Ok([chosen, rejected])) => {
                let subset = row.get("subset").or_else(|| row.get("category")).and_then(Value::as_str);
                data.add_pair(subset.unwrap_or_default().into(), chosen, rejected);
            }
            (_, Ok(two)) => data.add_row(two.into()),
            (_, Err(others)) => data.add_row(others),
        }
        Ok(())
    }

    pub(super) fn finish(self) -> ReportData {
        let mut data = self.data.unwrap_or_default();
        (data.failed, data.partly_scored) = (self.failed, self.partly_scored);
        data
    }

    /// Attributes of the row, in its order.
    fn attributes(&self, row: &Row) -> Vec<String> {
        let columns = attribute_columns(row, &self.columns.prefix);
        match self.shape {
            RowShape::Pair { .. } => {
                columns.filter_map(|(name, _)| name.strip_prefix("chosen_")).map(str::to_owned).collect()
            }
            _ => columns.filter(|(_, value)| !value.is_null()).map(|(name, _)| name.to_owned()).collect(),
        }
    }

    /// The row's responses. One that is not a conversation has neither text nor scores.
    fn responses(&self, row: &Row) -> Vec<Response> {
        let conversations = self.shape.conversations(row).unwrap_or_default();
        let mut responses = Vec::with_capacity(conversations.len());
        for (index, conversation) in conversations.into_iter().enumerate() {
            let conversation = conversation.unwrap_or_default();
            responses.push(match conversation.split_last() {
                None => Response::default(),
                Some((last, before)) => {
                    let prompt: Vec<&str> = before.iter().map(|turn| turn.content.as_str()).collect();
                    Response {
                        prompt: prompt.join("\n\n"),
                        text: last.content.clone(),
                        scores: self.scores(row, index),
                    }
                }
            });
        }
        responses
    }

    /// Scores of the response at `index`, in the order of the columns.
    fn scores(&self, row: &Row, index: usize) -> Vec<f64> {
        let side = ["chosen_", "rejected_"][index.min(1)];
        attribute_columns(row, &self.columns.prefix)
            .filter_map(|(name, value)| match (&self.shape, value) {
                (RowShape::Pair { .. }, value) => name.strip_prefix(side).and_then(|_| number(value)),
                (RowShape::Group { .. }, value) => number(list(value)?.get(index)?),
                (_, value) => number(value),
            })
            .collect()
    }
}

/// Index of the attribute that ranks responses: `by`, or the first.
fn ranking_attribute(attributes: &[String], by: Option<&str>) -> Result<usize, ScoreError> {
    let Some(by) = by else { return Ok(0) };
    let index = attributes.iter().position(|attribute| attribute == by);
    index.ok_or_else(|| ScoreError::UnknownAttribute { by: by.to_owned(), known: attributes.to_vec() })
}

/// A number, or its text, which is how CSV holds one.
fn number(value: &Value) -> Option<f64> {
    value.as_f64().or_else(|| value.as_str()?.parse().ok())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::shape::ColumnNames;
    use super::*;

    fn collected(rows: &[Value]) -> ReportData {
        let row = |row: &Value| row.as_object().unwrap().clone();
        let shape = RowShape::detect(&row(&rows[0]), &ColumnNames::default()).unwrap();
        let mut builder = ReportDataBuilder::new(shape, ScoreColumns { prefix: "score_".into(), by: None });
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
        assert_eq!(data.scores[0], [1.0, 2.0, 3.0]);
        assert_eq!((data.failed, data.partly_scored, data.other_attributes), (1, 1, 0));
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
