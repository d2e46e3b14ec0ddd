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
}

impl Gathered {
    /// Nothing yet.
    pub fn new(shape: Shape, columns: Columns) -> Self {
        Self { shape, columns, collector: None, failed: 0 }
    }

    /// Takes a row. One without scores counts as failed, and one that lacks some as partly so.
    ///
    /// # Errors
    /// The attribute that should decide is none of the row's.
    pub fn add(&mut self, row: &Row) -> Result<(), ScoreError> {
        let responses = self.responses(row);
        let names = self.names(row);
        if names.is_empty() || responses.is_empty() {
            self.failed += 1;
            return Ok(());
        }
        if self.collector.is_none() {
            self.collector = Some(Collector::new(names.clone(), self.deciding(&names)?));
        }
        let Some(collector) = &mut self.collector else { return Ok(()) };
        if names != collector.attributes {
            self.failed += 1;
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
        collector.failed += self.failed;
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
