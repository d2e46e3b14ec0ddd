//! `--best-of` and `--filter`: which rows and responses are kept.

use std::collections::HashMap;

use serde_json::Value;
use sha2::{Digest, Sha256};

use super::Row;
use super::columns::{Columns, OTHERS, Standing};
use super::filter::Filter;
use super::shape::Shape;

/// What is kept of the scored rows.
#[derive(Clone, Debug, Default)]
pub struct Selection {
    /// Keep the best response of each prompt.
    pub best_of: bool,
    /// Keep what this holds for.
    pub filter: Option<Filter>,
}

/// Chooses among the rows of one run. All are shown once with [`Selector::see`], then given to
/// [`Selector::keep`], as often as needed.
pub struct Selector<'a> {
    selection: &'a Selection,
    shape: &'a Shape,
    columns: &'a Columns,
    /// Of each prompt: its best score, and the index of the row that has it.
    best: HashMap<[u8; 16], (f64, usize)>,
    seen: usize,
}

impl<'a> Selector<'a> {
    /// Chooses by `selection` among rows of `shape` whose scores stand in `columns`.
    pub fn new(selection: &'a Selection, shape: &'a Shape, columns: &'a Columns) -> Self {
        Self { selection, shape, columns, best: HashMap::new(), seen: 0 }
    }

    /// Takes note of the next row.
    pub fn see(&mut self, row: &Row) {
        let index = self.seen;
        self.seen += 1;
        if !self.selection.best_of || !self.across_rows() {
            return;
        }
        let (Some(score), Some(prompt)) = (self.deciding(row), prompt_of(row, self.shape)) else { return };
        let best = self.best.entry(prompt).or_insert((score, index));
        // Of equals, the first stays.
        if score > best.0 {
            *best = (score, index);
        }
    }

    /// Whether the filter's names are scores of `row`; false where the row has none to tell by.
    ///
    /// # Errors
    /// The filter names a score that the row lacks.
    pub fn check(&self, row: &Row) -> Result<bool, String> {
        let mut row = row.clone();
        let scored = self.columns.standing(&row) != Standing::Failed;
        let within = !self.selection.best_of || self.across_rows() || self.best_within(&mut row);
        match &self.selection.filter {
            Some(filter) if scored && within => self.filtered(filter, row).map(|_| true),
            filter => Ok(filter.is_none()),
        }
    }

    /// What is kept of the row at `index`, if anything. A response without scores is neither the best nor
    /// passes a filter, whatever that says; nor does a pair that lacks one.
    ///
    /// # Errors
    /// The filter names a score that the row lacks.
    pub fn keep(&self, index: usize, mut row: Row) -> Result<Option<Row>, String> {
        let standing = self.columns.standing(&row);
        if self.selection.best_of {
            if self.across_rows() {
                let best = prompt_of(&row, self.shape).and_then(|prompt| self.best.get(&prompt));
                if self.deciding(&row).is_none() || best.is_none_or(|(_, best)| *best != index) {
                    return Ok(None);
                }
            } else if !self.best_within(&mut row) {
                return Ok(None);
            }
        }
        let lone = self.selection.best_of || !matches!(self.shape, Shape::Pair { .. });
        match (&self.selection.filter, standing) {
            (None, _) => Ok(Some(row)),
            (Some(_), Standing::Failed) => Ok(None),
            (Some(_), Standing::Partly) if !lone => Ok(None),
            (Some(filter), _) => self.filtered(filter, row),
        }
    }

    /// Whether the responses to a prompt stand in rows of their own.
    fn across_rows(&self) -> bool {
        matches!(self.shape, Shape::Single { .. } | Shape::Messages { .. })
    }

    fn deciding(&self, row: &Row) -> Option<f64> {
        match &self.columns.by {
            Some(by) => row.get(&self.columns.name(by))?.as_f64(),
            None => attributes(row, &self.columns.prefix).next().and_then(|(_, value)| value.as_f64()),
        }
    }

    /// Puts the best response of the row in the place of all of them; false where there is none.
    fn best_within(&self, row: &mut Row) -> bool {
        match self.shape {
            Shape::Group { responses, .. } => {
                let ranks = row.get(&self.columns.name("rank")).and_then(Value::as_array);
                let Some(best) = ranks.and_then(|ranks| ranks.iter().position(|rank| rank == 1)) else {
                    return false;
                };
                let Some(texts) = self.shape.responses(row) else { return false };
                let Some(text) = texts.get(best).cloned() else { return false };
                let prefix = &self.columns.prefix;
                let of_best = |(name, value): (String, Value)| match value {
                    _ if name == *responses => Some(("response".into(), text.clone())),
                    Value::Array(list) if name.starts_with(prefix) => Some((name, list.get(best)?.clone())),
                    value => Some((name, value)),
                };
                *row = std::mem::take(row).into_iter().filter_map(of_best).collect();
                true
            }
            Shape::Pair { chosen, rejected, .. } => {
                let Some(margin) = row.get(&self.columns.name("margin")) else { return false };
                // Where one side has no scores, the other is the better.
                let first =
                    margin.as_f64().map_or_else(|| self.has_side(row, "chosen_"), |margin| margin >= 0.0);
                let (better, worse) = if first { (chosen, rejected) } else { (rejected, chosen) };
                let sides = if first { ["chosen_", "rejected_"] } else { ["rejected_", "chosen_"] };
                let [of_better, of_worse] = sides.map(|side| self.columns.name(side));
                let of_best = |(name, value): (String, Value)| match name.strip_prefix(&of_better) {
                    _ if name == *better => Some(("response".into(), value)),
                    _ if name == *worse || name.starts_with(&of_worse) => None,
                    Some(attribute) => Some((self.columns.name(attribute), value)),
                    None => Some((name, value)),
                };
                *row = std::mem::take(row).into_iter().filter_map(of_best).collect();
                true
            }
            _ => true,
        }
    }

    fn has_side(&self, row: &Row, side: &str) -> bool {
        let prefix = self.columns.name(side);
        row.iter().any(|(name, value)| name.starts_with(&prefix) && !value.is_null())
    }

    fn filtered(&self, filter: &Filter, mut row: Row) -> Result<Option<Row>, String> {
        let unknown = |name: String, row: &Row| {
            let known: Vec<&str> =
                row.keys().filter_map(|column| column.strip_prefix(self.columns.prefix.as_str())).collect();
            format!("--filter names `{name}`, and the scores are {}", known.join(", "))
        };
        let list = match self.shape {
            Shape::Group { responses, .. } => row.get(responses).map(|_| responses.clone()),
            _ => None,
        };
        let Some(responses) = list else {
            let score = |name: &str| score_of(row.get(&self.columns.name(name))?);
            let holds = filter.holds(&score).map_err(|name| unknown(name, &row))?;
            return Ok(holds.then_some(row));
        };
        let texts = self.shape.responses(&row).map(|texts| texts.into_owned()).unwrap_or_default();
        let ranks = row.get(&self.columns.name("rank")).and_then(Value::as_array);
        let scored =
            |index: usize| ranks.and_then(|ranks| ranks.get(index)).is_some_and(|rank| !rank.is_null());
        let mut kept = Vec::with_capacity(texts.len());
        for index in 0..texts.len() {
            let score = |name: &str| match row.get(&self.columns.name(name))? {
                Value::Array(list) => score_of(list.get(index)?),
                value => score_of(value),
            };
            kept.push(filter.holds(&score).map_err(|name| unknown(name, &row))? && scored(index));
        }
        let only_kept = |list: &[Value]| -> Value {
            list.iter().zip(&kept).filter(|(_, kept)| **kept).map(|(value, _)| value.clone()).collect()
        };
        let prefix = self.columns.prefix.clone();
        for (name, value) in &mut row {
            match value {
                _ if *name == responses => *value = only_kept(&texts),
                Value::Array(list) if name.starts_with(&prefix) => *value = only_kept(list),
                _ => {}
            }
        }
        Ok(kept.contains(&true).then_some(row))
    }
}

/// Columns of a single response's scores.
pub fn attributes<'a>(row: &'a Row, prefix: &'a str) -> impl Iterator<Item = (&'a str, &'a Value)> {
    row.iter()
        .filter_map(move |(name, value)| Some((name.strip_prefix(prefix)?, value)))
        .filter(|(name, _)| !OTHERS.contains(name))
}

/// A score as a filter compares it. One that is not there, as the margin of a lone response, is a
/// number that no comparison holds for.
fn score_of(value: &Value) -> Option<f64> {
    if value.is_null() { Some(f64::NAN) } else { value.as_f64() }
}

/// Tells one prompt from another.
fn prompt_of(row: &Row, shape: &Shape) -> Option<[u8; 16]> {
    let text = match shape {
        Shape::Single { prompt, .. } => row.get(prompt)?.to_string(),
        Shape::Messages { .. } => {
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

    use super::super::shape::Names;
    use super::*;

    fn kept(selection: &Selection, rows: &[Value]) -> Vec<Value> {
        let rows: Vec<Row> = rows.iter().map(|row| row.as_object().unwrap().clone()).collect();
        let shape = Shape::of(&rows[0], &Names::default()).unwrap();
        let columns = Columns { prefix: "score_".into(), by: None };
        let mut selector = Selector::new(selection, &shape, &columns);
        rows.iter().for_each(|row| selector.see(row));
        let rows = rows.into_iter().enumerate();
        rows.filter_map(|(index, row)| selector.keep(index, row).unwrap()).map(Value::Object).collect()
    }

    fn best_of() -> Selection {
        Selection { best_of: true, filter: None }
    }

    #[test]
    fn the_best_of_rows_with_one_prompt_is_kept_in_its_place() {
        let row = |prompt: &str, response: &str, score: f64| json!({"prompt": prompt, "response": response, "score_reward": score});
        let rows = [row("p", "a", 1.0), row("q", "b", 0.0), row("p", "c", 2.0), row("p", "d", 2.0)];
        assert_eq!(kept(&best_of(), &rows), [row("q", "b", 0.0), row("p", "c", 2.0)]);
    }

    #[test]
    fn the_best_of_a_list_takes_the_lists_place() {
        let row = json!({"prompt": "p", "responses": ["a", "b"], "id": 7, "score_reward": [1.0, 2.0],
                         "score_rank": [2, 1], "score_margin": 1.0});
        let best = json!({"prompt": "p", "response": "b", "id": 7, "score_reward": 2.0, "score_rank": 1,
                          "score_margin": 1.0});
        assert_eq!(kept(&best_of(), &[row]), [best]);
    }

    #[test]
    fn the_better_of_a_pair_is_kept() {
        let row = |margin: f64| {
            json!({"prompt": "p", "chosen": "a", "rejected": "b", "score_chosen_reward": 1.0,
                   "score_rejected_reward": 1.0 - margin, "score_margin": margin})
        };
        let best = |text: &str, score: f64, margin: f64| json!({"prompt": "p", "response": text, "score_reward": score, "score_margin": margin});
        assert_eq!(kept(&best_of(), &[row(0.5), row(-2.0)]), [best("a", 1.0, 0.5), best("b", 3.0, -2.0)]);
    }

    #[test]
    fn a_filter_keeps_rows_and_in_lists_responses() {
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
