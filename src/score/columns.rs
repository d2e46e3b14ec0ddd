//! Adds scores to a row's columns.

use serde_json::{Number, Value};

use super::conversation::list;
use super::forms::{Found, Holds, RowLayout};
use super::margins::{lists_margin, margin, of_rivals, ranks_of_rivals};
use super::row::{Cell, Row};
use super::{ConversationScores, ScoreError, ScoreResult};
use crate::reward::RankedBy;

/// Names of added columns that are not attributes, without their prefix.
const NOT_ATTRIBUTES: [&str; 5] = ["rank", "margin", "ranked_by", "error", "line"];
/// What the attributes of chosen and rejected responses start with.
pub(super) const SIDES: [&str; 2] = ["chosen_", "rejected_"];

/// Names of the added columns.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct ScoreColumns {
    /// Start of all their names.
    pub(super) prefix: String,
    /// The score that ranks and margins follow; `None` for the first.
    pub(super) by: Option<RankedBy>,
    /// Names of the scores that every conversation has, as far as they are known.
    pub(super) attributes: Vec<String>,
}

/// Which responses of a row have scores.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum RowStatus {
    Scored,
    /// Some have scores.
    PartlyScored,
    Failed,
}

/// A row whose responses were scored.
pub(super) struct Scored<'a> {
    pub(super) layout: &'a RowLayout,
    pub(super) found: &'a Found,
    /// In the order of the responses.
    pub(super) results: &'a [ScoreResult],
}

impl ScoreColumns {
    /// Columns of the prefix `prefix`, ranked by the score that is called `by`.
    pub(super) fn new(prefix: &str, by: Option<&str>) -> Self {
        Self { prefix: prefix.to_owned(), by: by.map(RankedBy::parse), attributes: Vec::new() }
    }

    /// Full name of an added column.
    pub(super) fn name(&self, name: &str) -> String {
        format!("{}{name}", self.prefix)
    }

    /// The name of an added column without the prefix; `None` if the column is not an added one.
    pub(super) fn added<'a>(&self, column: &'a str) -> Option<&'a str> {
        let name = column.strip_prefix(&self.prefix)?;
        if NOT_ATTRIBUTES.contains(&name) {
            return Some(name);
        }
        let attribute = SIDES.iter().find_map(|side| name.strip_prefix(side)).unwrap_or(name);
        let is_known = if self.attributes.is_empty() && !self.has_steps() {
            !self.prefix.is_empty()
        } else {
            self.attributes.iter().any(|known| known == attribute) || self.is_step(attribute)
        };
        is_known.then_some(name)
    }

    /// The columns with scores, without their prefix.
    pub(super) fn scores<'a>(&'a self, row: &'a Row) -> impl Iterator<Item = (&'a str, &'a Cell)> {
        row.columns()
            .filter_map(move |(column, cell)| Some((self.added(column)?, cell)))
            .filter(|(name, _)| !NOT_ATTRIBUTES.contains(name))
    }

    fn has_steps(&self) -> bool {
        self.by.as_ref().is_some_and(|by| by.step().is_some())
    }

    fn is_step(&self, attribute: &str) -> bool {
        let step = self.by.as_ref().and_then(RankedBy::step);
        let number = step.and_then(|step| attribute.strip_prefix(step)?.strip_prefix('_'));
        number.is_some_and(|number| number.parse::<usize>().is_ok())
    }

    /// A column of an input row that an added column would replace, or that looks like an added one.
    pub(super) fn collision<'a>(&self, row: &'a Row, layout: &RowLayout) -> Option<&'a str> {
        let taken = |(name, cell): &(&str, &Cell)| self.is_taken_for_added(name, cell, layout.holds());
        row.columns().find(taken).map(|(name, _)| name)
    }

    /// As [`ScoreColumns::collision`], before the attributes are known.
    pub(super) fn certain_collision<'a>(&self, row: &'a Row) -> Option<&'a str> {
        let is_fixed =
            |name: &&str| name.strip_prefix(&self.prefix).is_some_and(|name| NOT_ATTRIBUTES.contains(&name));
        row.names().find(is_fixed)
    }

    fn is_taken_for_added(&self, column: &str, cell: &Cell, holds: Holds) -> bool {
        let Some(name) = column.strip_prefix(&self.prefix) else { return false };
        if NOT_ATTRIBUTES.contains(&name) {
            return true;
        }
        let has_side = SIDES.iter().any(|side| name.starts_with(side));
        let has_sides = matches!(holds, Holds::Pair | Holds::Lists);
        if has_sides && !has_side || self.prefix.is_empty() && has_side != has_sides {
            return false;
        }
        // A server that does not name its attributes may have any; those of several responses are lists, and the
        // `score_A` of SHP is not.
        let may_be_added = !self.attributes.is_empty()
            || self.has_steps()
            || holds != Holds::Group
            || list(&cell.value()).is_some();
        may_be_added && self.added(column).is_some()
    }

    /// The score that ranks and margins follow.
    ///
    /// # Errors
    /// [`ScoreError::UnknownAttribute`].
    fn ranking_score(&self, scores: &ConversationScores) -> Result<f64, ScoreError> {
        let named = scores.scores.iter().map(|(attribute, score)| (attribute.as_str(), *score));
        let found = match &self.by {
            None => scores.scores.first().map(|(_, score)| *score),
            Some(by) => by.value(named),
        };
        found.ok_or_else(|| ScoreError::UnknownAttribute {
            by: self.by.as_ref().map(|by| by.name().to_owned()).unwrap_or_default(),
            known: scores.scores.iter().map(|(attribute, _)| attribute.clone()).collect(),
        })
    }

    /// Adds the scores of a row's responses, and the reasons why others have none.
    ///
    /// A single response gets a number for each attribute. A pair gets `chosen_` and `rejected_` numbers,
    /// and `margin` (chosen minus rejected). A group gets a list for each attribute, the list `rank` (1 is
    /// the best; equal scores share the better rank), and `margin` (best minus second best). Where responses answer
    /// several prompts, ranks are among those to one prompt, and the margin is of the first prompt. Lists of chosen
    /// and rejected responses get `chosen_` and `rejected_` lists, and `margin` (the lowest of the chosen minus the
    /// highest of the rejected). `ranked_by` names the score that these follow if it is not the first one. A
    /// response without scores has null in their place. A row in which no response has scores gets only `error`.
    ///
    /// # Errors
    /// [`ScoreError::UnknownAttribute`].
    pub(super) fn add(&self, row: &mut Row, scored: &Scored<'_>) -> Result<(), ScoreError> {
        let Scored { layout, found, results } = scored;
        let (mut scores, mut ranking, mut errors) = (Vec::new(), Vec::new(), Vec::new());
        for (index, result) in results.iter().enumerate() {
            match result {
                Ok(scored) => ranking.push(Some(self.ranking_score(scored)?)),
                Err(error) => {
                    ranking.push(None);
                    errors
                        .push(format!("{}{error}", layout.error_prefix(index, results.len(), found.chosen)));
                }
            }
            scores.push(result.as_ref().ok());
        }
        if ranking.iter().any(Option::is_some) {
            match layout.holds() {
                Holds::One | Holds::Steps => self.add_one(row, &scores),
                Holds::Group => self.add_group(row, &scores, &ranking, found),
                Holds::Pair => self.add_pair(row, &scores, &ranking),
                Holds::Lists => self.add_lists(row, &scores, &ranking, found.chosen),
            }
            self.add_ranked_by(row, &scores);
        }
        if !errors.is_empty() {
            self.add_error(row, &errors.join("; "));
        }
        Ok(())
    }

    fn add_one(&self, row: &mut Row, scores: &[Option<&ConversationScores>]) {
        for (attribute, score) in scores.iter().flatten().flat_map(|scores| &scores.scores) {
            self.set(row, attribute, &number(Some(*score)));
        }
    }

    fn add_group(
        &self,
        row: &mut Row,
        scores: &[Option<&ConversationScores>],
        ranking: &[Option<f64>],
        found: &Found,
    ) {
        for attribute in attribute_names(scores) {
            self.set(row, attribute, &column(scores, attribute));
        }
        self.set(row, "rank", &ranks_of_rivals(ranking, found).into_iter().map(Value::from).collect());
        self.set(row, "margin", &number(margin(&of_rivals(ranking, found, 0))));
    }

    fn add_pair(&self, row: &mut Row, scores: &[Option<&ConversationScores>], ranking: &[Option<f64>]) {
        let [chosen, rejected] = [0, 1].map(|index| scores.get(index).copied().flatten());
        for (side, scores, other) in [(SIDES[0], chosen, rejected), (SIDES[1], rejected, chosen)] {
            for attribute in attribute_names(&[scores.or(other)]) {
                self.set(row, &format!("{side}{attribute}"), &score(scores, attribute));
            }
        }
        let [chosen, rejected] = [0, 1].map(|index| ranking.get(index).copied().flatten());
        self.set(row, "margin", &number(chosen.zip(rejected).map(|(chosen, rejected)| chosen - rejected)));
    }

    fn add_lists(
        &self,
        row: &mut Row,
        scores: &[Option<&ConversationScores>],
        ranking: &[Option<f64>],
        chosen: usize,
    ) {
        let names = attribute_names(scores);
        let (chosen_scores, rejected_scores) = scores.split_at(chosen.min(scores.len()));
        for (side, scores) in [(SIDES[0], chosen_scores), (SIDES[1], rejected_scores)] {
            for attribute in &names {
                self.set(row, &format!("{side}{attribute}"), &column(scores, attribute));
            }
        }
        self.set(row, "margin", &number(lists_margin(ranking, chosen)));
    }

    /// Names the score that ranks if it is not the first one.
    fn add_ranked_by(&self, row: &mut Row, scores: &[Option<&ConversationScores>]) {
        let Some(by) = &self.by else { return };
        let first = scores.iter().flatten().find_map(|scores| scores.scores.first());
        if first.is_some_and(|(first, _)| first != by.name()) {
            self.set(row, "ranked_by", &by.name().into());
        }
    }

    fn set(&self, row: &mut Row, name: &str, value: &Value) {
        row.set(&self.name(name), Cell::from(value));
    }

    /// Which responses of a row have scores, after [`ScoreColumns::add`].
    pub(super) fn status(&self, row: &Row) -> RowStatus {
        if !row.contains(&self.name("error")) {
            RowStatus::Scored
        } else if row.contains(&self.name("margin")) {
            RowStatus::PartlyScored
        } else {
            RowStatus::Failed
        }
    }

    /// A row in place of one that cannot be read or scored: the reason, and the text of the original.
    pub(super) fn unreadable_row(&self, reason: &str, text: &str) -> Row {
        let columns = [("error", reason), ("line", text)];
        columns.into_iter().map(|(name, value)| (self.name(name), Cell::text(value))).collect()
    }

    /// Whether [`ScoreColumns::unreadable_row`] made a row.
    pub(super) fn is_unreadable(&self, row: &Row) -> bool {
        row.len() == 2 && ["error", "line"].iter().all(|name| row.contains(&self.name(name)))
    }

    /// Adds the reason why a row, or a response in it, has no scores.
    pub(super) fn add_error(&self, row: &mut Row, reason: &str) {
        row.set(&self.name("error"), Cell::text(reason));
    }
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

fn column(scores: &[Option<&ConversationScores>], attribute: &str) -> Value {
    scores.iter().map(|scores| score(*scores, attribute)).collect()
}

fn score(scores: Option<&ConversationScores>, attribute: &str) -> Value {
    let found = scores.and_then(|scores| scores.scores.iter().find(|(name, _)| name == attribute));
    number(found.map(|(_, score)| *score))
}

/// A number of JSON; a difference that is too large for a float is the largest one.
fn number(score: Option<f64>) -> Value {
    let score = score.map(|score| score.clamp(f64::MIN, f64::MAX));
    score.and_then(Number::from_f64).map_or(Value::Null, Value::Number)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::Unscored;
    use super::super::forms::FormArgs;
    use super::*;

    fn layout(row: &Value) -> (Row, RowLayout) {
        let row = Row::parse(&row.to_string()).unwrap();
        let layout = RowLayout::detect(&row, &FormArgs::default()).unwrap();
        (row, layout)
    }

    fn added(row: &Value, chosen: usize, results: &[Result<f64, &str>]) -> (Value, RowStatus) {
        let (mut row, layout) = layout(row);
        let columns = ScoreColumns::new("", None);
        let result = |result: &Result<f64, &str>| match result {
            Ok(score) => Ok(ConversationScores { scores: vec![("reward".into(), *score)], tokens: 1 }),
            Err(reason) => Err(Unscored::Refused((*reason).to_owned())),
        };
        let before = row.len();
        let results: Vec<ScoreResult> = results.iter().map(result).collect();
        columns
            .add(
                &mut row,
                &Scored { layout: &layout, found: &Found { chosen, ..Found::default() }, results: &results },
            )
            .unwrap();
        let status = columns.status(&row);
        let new = row.columns().skip(before).map(|(name, cell)| (name.to_owned(), cell.value()));
        (Value::Object(new.collect()), status)
    }

    #[test]
    fn a_failed_response_is_null_and_the_others_keep_their_scores() {
        let group = json!({"prompt": "p", "responses": ["a", "b", "c"]});
        let due = json!({"reward": [1.0, null, 3.5], "rank": [2, null, 1], "margin": 2.5,
                         "error": "response 2 of 3: too long"});
        let scored = added(&group, 0, &[Ok(1.0), Err("too long"), Ok(3.5)]);
        assert_eq!(scored, (due, RowStatus::PartlyScored));
        let due = json!({"error": "response 1 of 3: x; response 2 of 3: y; response 3 of 3: z"});
        assert_eq!(added(&group, 0, &[Err("x"), Err("y"), Err("z")]), (due, RowStatus::Failed));
        let pair = json!({"prompt": "p", "chosen": "a", "rejected": "b"});
        let due = json!({"chosen_reward": null, "rejected_reward": 2.0, "margin": null,
                         "error": "chosen: too long"});
        assert_eq!(added(&pair, 1, &[Err("too long"), Ok(2.0)]), (due, RowStatus::PartlyScored));
        let due = json!({"chosen_reward": 2.5, "rejected_reward": 2.0, "margin": 0.5});
        assert_eq!(added(&pair, 1, &[Ok(2.5), Ok(2.0)]), (due, RowStatus::Scored));
        let single = json!({"prompt": "p", "response": "a"});
        assert_eq!(added(&single, 0, &[Err("too long")]), (json!({"error": "too long"}), RowStatus::Failed));
        let lists = json!({"prompt": "p", "chosen": ["a"], "rejected": ["b", "c"]});
        let due = json!({"chosen_reward": [2.5], "rejected_reward": [2.0, 1.0], "margin": 0.5});
        assert_eq!(added(&lists, 1, &[Ok(2.5), Ok(2.0), Ok(1.0)]), (due, RowStatus::Scored));
        let due = json!({"chosen_reward": [2.5], "rejected_reward": [2.0, null], "margin": null,
                         "error": "rejected 2 of 2: too long"});
        assert_eq!(added(&lists, 1, &[Ok(2.5), Ok(2.0), Err("too long")]), (due, RowStatus::PartlyScored));
    }

    #[test]
    fn ranks_and_margins_follow_the_score_that_ranks_which_is_named_unless_it_is_the_first() {
        let group = json!({"prompt": "p", "responses": ["a", "b"]});
        let (row, layout) = layout(&group);
        let scored = |help: f64, total: f64| {
            let scores = vec![("help".into(), help), ("weighted".into(), total)];
            Ok(ConversationScores { scores, tokens: 1 })
        };
        for (by, rank, named) in [
            (None, "[1,2]", None),
            (Some("help"), "[1,2]", None),
            (Some("weighted"), "[2,1]", Some("\"weighted\"")),
        ] {
            let columns = ScoreColumns::new("score_", by);
            let mut row = row.clone();
            let results = [scored(2.0, 1.0), scored(1.0, 2.0)];
            columns
                .add(&mut row, &Scored { layout: &layout, found: &Found::default(), results: &results })
                .unwrap();
            assert_eq!(row.get("score_rank").map(Cell::json), Some(rank), "{by:?}");
            assert_eq!(row.get("score_ranked_by").map(Cell::json), named, "{by:?}");
        }
        let columns = ScoreColumns::new("score_", Some("beauty"));
        let results = [scored(2.0, 1.0)];
        let error = columns
            .add(&mut row.clone(), &Scored { layout: &layout, found: &Found::default(), results: &results });
        assert!(matches!(error, Err(ScoreError::UnknownAttribute { .. })));
    }

    #[test]
    fn without_a_prefix_a_column_that_is_called_like_an_attribute_would_be_replaced() {
        let (row, layout) = layout(&json!({"prompt": "p", "response": "a", "helpfulness": 3}));
        let mut columns = ScoreColumns::new("", None);
        columns.attributes = vec!["verbosity".into()];
        assert_eq!(columns.collision(&row, &layout), None);
        columns.attributes.push("helpfulness".into());
        assert_eq!(columns.collision(&row, &layout), Some("helpfulness"));
        assert_eq!(ScoreColumns::new("score_", None).collision(&row, &layout), None);
    }

    #[test]
    fn only_columns_that_would_be_added_are_in_the_way() {
        let shp = json!({"history": "q", "human_ref_A": "a", "human_ref_B": "b", "labels": 1, "score_A": 9,
                         "score_B": 2, "score_ratio": 4.5});
        let webgpt = json!({"question": {"full_text": "q"}, "answer_0": "a", "answer_1": "b", "score_0": 0.5,
                            "score_1": -0.5});
        let single = json!({"prompt": "p", "response": "a", "score_A": 1});
        for (value, attributes, taken) in [
            (&shp, vec![], None),
            (&shp, vec!["reward"], None),
            (&shp, vec!["reward", "B"], Some("score_B")),
            (&webgpt, vec!["reward"], None),
            (&single, vec!["reward"], None),
            (&single, vec![], Some("score_A")),
        ] {
            let (row, layout) = layout(value);
            let mut columns = ScoreColumns::new("score_", None);
            columns.attributes = attributes.into_iter().map(str::to_owned).collect();
            assert_eq!(columns.collision(&row, &layout), taken, "{value}");
            assert_eq!(columns.certain_collision(&row), None, "{value}");
        }
        let (row, _) = layout(&json!({"prompt": "p", "response": "a", "score_error": ""}));
        assert_eq!(ScoreColumns::new("score_", None).certain_collision(&row), Some("score_error"));
    }
}
