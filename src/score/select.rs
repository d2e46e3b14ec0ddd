//! `--best-of` and `--filter`: which rows and responses are kept.

use std::collections::HashMap;

use serde_json::Value;
use sha2::{Digest, Sha256};

use super::ScoreError;
use super::best_of::{PROMPT, RESPONSE, replace_by_best};
use super::columns::{RowStatus, ScoreColumns};
use super::filter::{Filter, UnknownName};
use super::forms::{Holds, RowLayout};
use super::row::{Cell, Row};
use super::scores_of_row::ranking_score;

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
    layout: &'a RowLayout,
    columns: &'a ScoreColumns,
    /// For each prompt, by its digest: the best score, and the index of the row that has it.
    best: HashMap<[u8; 16], (f64, usize)>,
    observed: usize,
}

impl<'a> Selector<'a> {
    pub(super) fn new(selection: &'a Selection, layout: &'a RowLayout, columns: &'a ScoreColumns) -> Self {
        Self { selection, layout, columns, best: HashMap::new(), observed: 0 }
    }

    /// Takes note of the next row.
    pub(super) fn observe(&mut self, row: &Row) {
        let index = self.observed;
        self.observed += 1;
        if !self.selection.best_of || !self.has_one_response_per_row() {
            return;
        }
        let Some(score) = self.ranking_score(row) else { return };
        let Some(prompt) = prompt_digest(row, self.layout) else { return };
        let best = self.best.entry(prompt).or_insert((score, index));
        // Among equal scores, the first row wins.
        if score > best.0 {
            *best = (score, index);
        }
    }

    /// The columns of the input that the selection changes, by a row of it; none if the row cannot be read.
    pub(super) fn changed_columns(&self, row: &Row) -> Vec<String> {
        let filters = self.selection.filter.is_some() && self.layout.holds() == Holds::Group;
        if self.has_one_response_per_row() || !(self.selection.best_of || filters) {
            return Vec::new();
        }
        let Ok(found) = self.layout.found(row) else { return Vec::new() };
        let mut changed = found.columns;
        if self.selection.best_of && found.hold_prompt {
            changed.push(PROMPT.to_owned());
        }
        if self.selection.best_of {
            changed.push(RESPONSE.to_owned());
        }
        changed
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
        if self.selection.best_of && !replace_by_best(&mut row, self.layout, self.columns) {
            return Ok(false);
        }
        self.filter_row(filter, row, self.selection.best_of).map(|_| true)
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
            if !replace_by_best(&mut row, self.layout, self.columns) {
                return Ok(None);
            }
        }
        let Some(filter) = &self.selection.filter else { return Ok(Some(row)) };
        let is_pair = !self.selection.best_of && matches!(self.layout.holds(), Holds::Pair | Holds::Lists);
        match status {
            RowStatus::Failed => Ok(None),
            RowStatus::PartlyScored if is_pair => Ok(None),
            _ => self.filter_row(filter, row, self.selection.best_of),
        }
    }

    /// A row as it would be if no filter dropped it.
    pub(super) fn unfiltered(&self, mut row: Row) -> Row {
        if self.selection.best_of {
            replace_by_best(&mut row, self.layout, self.columns);
        }
        row
    }

    /// Whether the responses to a prompt are in separate rows.
    fn has_one_response_per_row(&self) -> bool {
        matches!(self.layout.holds(), Holds::One | Holds::Steps)
    }

    /// Whether no row with the same prompt has a better response than the row at `index`.
    fn is_best(&self, index: usize, row: &Row) -> bool {
        let best = prompt_digest(row, self.layout).and_then(|prompt| self.best.get(&prompt));
        self.ranking_score(row).is_some() && best.is_some_and(|(_, best)| *best == index)
    }

    /// The score that decides which of several rows is the best.
    fn ranking_score(&self, row: &Row) -> Option<f64> {
        let scores = self.columns.scores(row);
        let scores = scores.filter_map(|(name, cell)| Some((name.to_owned(), cell.as_f64()?))).collect();
        ranking_score(&scores, self.columns.by.as_ref())
    }

    fn filter_row(&self, filter: &Filter, row: Row, is_best: bool) -> Result<Option<Row>, ScoreError> {
        if self.layout.holds() == Holds::Group && !is_best {
            return self.filter_responses(filter, row);
        }
        let score = |name: &str| filter_value(&row.get(&self.columns.name(name))?.value());
        let matches = filter.matches(&score).map_err(|error| self.unknown_score(error, &row))?;
        Ok(matches.then_some(row))
    }

    /// Keeps the responses of a group that the filter is true for; `None` if there are none. Responses in columns of
    /// their own become null, and so do their scores, since the others keep their places.
    fn filter_responses(&self, filter: &Filter, mut row: Row) -> Result<Option<Row>, ScoreError> {
        let Ok(found) = self.layout.found(&row) else { return Ok(None) };
        let lists: Vec<(String, Vec<Value>)> = row
            .columns()
            .filter(|(name, _)| self.columns.added(name).is_some())
            .filter_map(|(name, cell)| Some((name.to_owned(), cell.as_list()?)))
            .collect();
        let rank = self.columns.name("rank");
        let mut kept = Vec::with_capacity(found.candidates.len());
        for index in 0..found.candidates.len() {
            let score = |name: &str| {
                let name = self.columns.name(name);
                match lists.iter().find(|(column, _)| *column == name) {
                    Some((_, list)) => filter_value(list.get(index)?),
                    None => filter_value(&row.get(&name)?.value()),
                }
            };
            let matches = filter.matches(&score).map_err(|error| self.unknown_score(error, &row))?;
            let ranks = lists.iter().find(|(column, _)| *column == rank);
            kept.push(
                matches
                    && ranks.is_some_and(|(_, ranks)| ranks.get(index).is_some_and(|rank| !rank.is_null())),
            );
        }
        if !kept.contains(&true) {
            return Ok(None);
        }
        match found.columns.as_slice() {
            [column] => {
                let items = row.get(column).and_then(|cell| super::conversation::list(&cell.value()));
                if let Some(items) = items.filter(|items| items.len() == kept.len()) {
                    row.set(column, only_kept(&items, &kept));
                    for (name, list) in &lists {
                        row.set(name, only_kept(list, &kept));
                    }
                } else {
                    // The responses are nodes of a tree, from which none can be removed.
                    for (name, list) in &lists {
                        row.set(name, others_null(list, &kept));
                    }
                }
            }
            columns => {
                for (column, is_kept) in columns.iter().zip(&kept) {
                    if !is_kept {
                        row.set(column, Cell::null());
                    }
                }
                for (name, list) in &lists {
                    row.set(name, others_null(list, &kept));
                }
            }
        }
        Ok(Some(row))
    }

    fn unknown_score(&self, UnknownName(name): UnknownName, row: &Row) -> ScoreError {
        if row.get(&self.columns.name(&name)).is_some_and(|cell| cell.as_list().is_some()) {
            return ScoreError::ListOfScores(name);
        }
        let known = row.names().filter_map(|column| self.columns.added(column)).map(str::to_owned);
        ScoreError::UnknownScore { name, known: known.collect() }
    }
}

fn only_kept(list: &[Value], kept: &[bool]) -> Cell {
    let items = list.iter().zip(kept).filter(|(_, kept)| **kept).map(|(value, _)| value.clone());
    Cell::from(&items.collect::<Value>())
}

fn others_null(list: &[Value], kept: &[bool]) -> Cell {
    let items = list.iter().zip(kept).map(|(value, kept)| if *kept { value.clone() } else { Value::Null });
    Cell::from(&items.collect::<Value>())
}

/// A score as a filter sees it. A missing one, such as the margin of a lone response, is NaN, for which no
/// comparison is true.
fn filter_value(value: &Value) -> Option<f64> {
    if value.is_null() { Some(f64::NAN) } else { value.as_f64() }
}

/// Identifies the prompt of a row with one response: all turns but the last.
fn prompt_digest(row: &Row, layout: &RowLayout) -> Option<[u8; 16]> {
    let conversation = layout.found(row).ok()?.candidates.pop()?.turns.ok()?;
    let (_, prompt) = conversation.split_last()?;
    Sha256::digest(format!("{prompt:?}").as_bytes())[..16].try_into().ok()
}

#[cfg(test)]
mod tests {
    use std::slice::from_ref;

    use serde_json::json;

    use super::super::forms::FormArgs;
    use super::*;

    fn kept(selection: &Selection, rows: &[Value]) -> Vec<Value> {
        let rows: Vec<Row> = rows.iter().map(|row| Row::parse(&row.to_string()).unwrap()).collect();
        let layout = RowLayout::detect(&rows[0], &FormArgs::default()).unwrap();
        let columns = ScoreColumns::new("score_", None);
        let mut selector = Selector::new(selection, &layout, &columns);
        rows.iter().for_each(|row| selector.observe(row));
        let rows = rows.into_iter().enumerate();
        let kept = rows.filter_map(|(index, row)| selector.keep(index, row).unwrap());
        kept.map(|row| serde_json::from_str(&row.json()).unwrap()).collect()
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
    fn the_winner_takes_the_place_of_a_column_that_is_called_response() {
        let group = json!({"response": "old", "prompt": "p", "responses": ["a", {"text": "b"}], "score_reward": [1.0, 2.0],
                           "score_rank": [2, 1], "score_margin": 1.0});
        let best = json!({"prompt": "p", "response": "b", "score_reward": 2.0, "score_rank": 1, "score_margin": 1.0});
        assert_eq!(kept(&best_of(), &[group]), [best]);
        let pair = json!({"prompt": "p", "chosen": "a", "rejected": "b", "response": "old", "score_chosen_reward": 1.0,
                          "score_rejected_reward": 2.0, "score_margin": -1.0});
        let better = json!({"prompt": "p", "response": "b", "score_reward": 2.0, "score_margin": -1.0});
        assert_eq!(kept(&best_of(), &[pair]), [better]);
    }

    #[test]
    fn responses_in_columns_of_their_own_and_lists_of_both_sides_have_a_best_one() {
        let columns = json!({"prompt": "p", "response_0": "a", "response_1": "b", "better_response_id": 0,
                             "score_reward": [1.0, 2.0], "score_rank": [2, 1], "score_margin": 1.0});
        let best = json!({"prompt": "p", "response": "b", "better_response_id": 0, "score_reward": 2.0, "score_rank": 1,
                          "score_margin": 1.0});
        assert_eq!(kept(&best_of(), from_ref(&columns)), [best]);
        let selection = Selection { best_of: false, filter: Some("reward>1.5".parse().unwrap()) };
        let left = json!({"prompt": "p", "response_0": null, "response_1": "b", "better_response_id": 0,
                          "score_reward": [null, 2.0], "score_rank": [null, 1], "score_margin": 1.0});
        assert_eq!(kept(&selection, &[columns]), [left]);
        let lists = json!({"prompt": "p", "chosen": ["a"], "rejected": ["b", "c"], "score_chosen_reward": [1.0],
                           "score_rejected_reward": [0.5, 2.0], "score_margin": -1.0});
        let best = json!({"prompt": "p", "response": "c", "score_reward": 2.0, "score_margin": -1.0});
        assert_eq!(kept(&best_of(), &[lists]), [best]);
    }

    #[test]
    fn the_best_response_keeps_a_prompt_that_is_in_the_same_column() {
        let messages = json!([{"role": "user", "content": "hi"}, {"role": "assistant", "content": "yo"}]);
        let prompt = json!([{"role": "user", "content": "hi"}]);
        for (chosen, response) in [(0.0, "zebra"), (2.0, "yo")] {
            let swift = json!({"messages": messages, "rejected_response": "zebra", "score_chosen_reward": chosen,
                               "score_rejected_reward": 1.0, "score_margin": chosen - 1.0});
            let best = json!({"prompt": prompt, "response": response, "score_reward": f64::max(chosen, 1.0),
                              "score_margin": chosen - 1.0});
            assert_eq!(kept(&best_of(), &[swift]), [best]);
        }
        let replies = json!([{"text": "a", "role": "assistant"}, {"text": "b", "role": "assistant"}]);
        let tree = json!({"message_tree_id": "t", "prompt": {"text": "hi", "replies": replies},
                          "score_reward": [1.0, 2.0], "score_rank": [2, 1], "score_margin": 1.0});
        let best = json!({"message_tree_id": "t", "prompt": prompt, "response": "b", "score_reward": 2.0,
                          "score_rank": 1, "score_margin": 1.0});
        assert_eq!(kept(&best_of(), &[tree]), [best]);
    }

    #[test]
    fn a_row_that_cannot_be_read_does_not_say_which_columns_change() {
        let row = |value: Value| Row::parse(&value.to_string()).unwrap();
        let group = row(json!({"prompt": "p", "responses": ["a", "b"]}));
        let layout = RowLayout::detect(&group, &FormArgs::default()).unwrap();
        let (selection, columns) = (best_of(), ScoreColumns::new("score_", None));
        let selector = Selector::new(&selection, &layout, &columns);
        assert!(selector.changed_columns(&row(json!({"score_error": "not JSON"}))).is_empty());
        assert_eq!(selector.changed_columns(&group), ["responses", "response"]);
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
