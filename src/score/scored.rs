//! Scored rows, read for what a person wants to know of them.

use serde_json::Value;

use super::columns::Columns;
use super::select::attributes;
use super::shape::{Shape, list};
use super::{Row, ScoreError};
use crate::prompt::Message;
use crate::report::{Collector, Response};

/// Gathers scored rows of one shape.
pub struct Gathered {
    shape: Shape,
    columns: Columns,
    /// What was gathered; `None` until a row has scores.
    collector: Option<Collector>,
    failed: usize,
    partly: usize,
}

impl Gathered {
    /// Nothing yet.
    pub fn new(shape: Shape, columns: Columns) -> Self {
        Self { shape, columns, collector: None, failed: 0, partly: 0 }
    }

    /// Takes a row. One without scores counts as failed, one that lacks those of some responses as partly so.
    ///
    /// # Errors
    /// The attribute that should decide is none of the row's.
    pub fn add(&mut self, row: &Row) -> Result<(), ScoreError> {
        let mut responses = self.responses(row);
        responses.retain(|response| !response.scores.is_empty());
        let names = self.names(row);
        if names.is_empty() || responses.is_empty() {
            self.failed += 1;
            return Ok(());
        }
        // In CSV and Parquet, every row has every column.
        let error = row.get(&self.columns.name("error")).filter(|error| !error.is_null());
        self.partly += usize::from(error.is_some_and(|error| error != ""));
        if self.collector.is_none() {
            self.collector = Some(Collector::new(names.clone(), self.deciding(&names)?));
        }
        let Some(collector) = &mut self.collector else { return Ok(()) };
        if names != collector.attributes {
            collector.apart += 1;
            return Ok(());
        }
        match (&self.shape, <[Response; 2]>::try_from(responses)) {
            (Shape::Pair { .. }, Ok([chosen, rejected])) => {
                let category = row.get("subset").or_else(|| row.get("category")).and_then(Value::as_str);
                collector.add_pair(category.unwrap_or_default().into(), chosen, rejected);
            }
            (_, Ok(two)) => collector.add_row(two.into()),
            (_, Err(others)) => collector.add_row(others),
        }
        Ok(())
    }

    /// What was gathered.
    pub fn finish(self) -> Collector {
        let mut collector = self.collector.unwrap_or_else(|| Collector::new(Vec::new(), 0));
        (collector.failed, collector.partly) = (self.failed, self.partly);
        collector
    }

    fn deciding(&self, names: &[String]) -> Result<usize, ScoreError> {
        let Some(by) = &self.columns.by else { return Ok(0) };
        names.iter().position(|name| name == by).ok_or_else(|| {
            ScoreError::Option(format!("--by names `{by}`, and the attributes are {}", names.join(", ")))
        })
    }

    /// Attributes of the row, in its order.
    fn names(&self, row: &Row) -> Vec<String> {
        let all = attributes(row, &self.columns.prefix);
        match self.shape {
            Shape::Pair { .. } => {
                let chosen = all.filter_map(|(name, _)| name.strip_prefix("chosen_"));
                chosen.map(str::to_owned).collect()
            }
            _ => all.filter(|(_, value)| !value.is_null()).map(|(name, _)| name.to_owned()).collect(),
        }
    }

    /// The row's responses; one that is no conversation is there without text and scores.
    fn responses(&self, row: &Row) -> Vec<Response> {
        let conversations = self.shape.conversations(row).unwrap_or_default();
        let response = |(index, conversation): (usize, Result<Vec<Message>, String>)| {
            let conversation = conversation.unwrap_or_default();
            let Some((last, before)) = conversation.split_last() else { return Response::default() };
            let prompt: Vec<&str> = before.iter().map(|turn| turn.content.as_str()).collect();
            Response {
                prompt: prompt.join("\n\n"),
                text: last.content.clone(),
                scores: self.scores(row, index),
            }
        };
        conversations.into_iter().enumerate().map(response).collect()
    }

    fn scores(&self, row: &Row, index: usize) -> Vec<f64> {
        let side = ["chosen_", "rejected_"][index.min(1)];
        attributes(row, &self.columns.prefix)
            .filter_map(|(name, value)| match (&self.shape, value) {
                (Shape::Pair { .. }, value) => name.strip_prefix(side).and_then(|_| number(value)),
                (Shape::Group { .. }, value) => number(list(value)?.get(index)?),
                (_, value) => number(value),
            })
            .collect()
    }
}

/// A number, also where CSV made text of it.
fn number(value: &Value) -> Option<f64> {
    value.as_f64().or_else(|| value.as_str()?.parse().ok())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::shape::Names;
    use super::*;

    fn gathered(rows: &[Value]) -> Collector {
        let row = |row: &Value| row.as_object().unwrap().clone();
        let shape = Shape::of(&row(&rows[0]), &Names::default()).unwrap();
        let mut gathered = Gathered::new(shape, Columns { prefix: "score_".into(), by: None });
        rows.iter().for_each(|one| gathered.add(&row(one)).unwrap());
        gathered.finish()
    }

    #[test]
    fn rows_are_counted_by_what_they_lack() {
        let group = |scores: Value, error: Value| json!({"prompt": "p", "responses": ["a", "b"], "score_reward": scores, "score_error": error});
        let rows = [
            group(json!([1.0, 2.0]), Value::Null),
            group(json!("[3.0, null]"), json!("response 2 of 2: too long")),
            group(json!(""), json!("too long")),
        ];
        let of = gathered(&rows);
        assert_eq!(
            (of.scores[0].as_slice(), of.failed, of.partly, of.apart),
            (&[1.0, 2.0, 3.0][..], 1, 1, 0)
        );
    }

    #[test]
    fn rows_of_other_steps_have_not_failed() {
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
        let of = gathered(&rows);
        assert_eq!((of.responses(), of.failed, of.partly, of.apart), (2, 0, 0, 1));
    }
}
