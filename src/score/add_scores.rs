//! Adds the scores of a row's responses to its columns.

use serde_json::{Number, Value};

use super::columns::{SIDES, ScoreColumns};
use super::forms::{Found, Holds, RowLayout};
use super::margins::{lists_margin, margin, ranks_of_rivals, rival_scores};
use super::row::{Cell, Row};
use super::{ConversationScores, ScoreError, ScoreResult};

/// A row whose responses were scored.
pub(super) struct Scored<'a> {
    pub(super) layout: &'a RowLayout,
    pub(super) found: &'a Found,
    /// In the order of the responses.
    pub(super) results: &'a [ScoreResult],
    /// The signatures of the scores, in the same order; empty if they are not signed.
    pub(super) signatures: &'a [Option<String>],
}

impl ScoreColumns {
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
        let Scored { layout, found, results, signatures } = scored;
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
            if !signatures.is_empty() {
                self.add_signatures(row, layout.holds(), found.chosen, signatures);
            }
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
        self.set(row, "margin", &number(margin(&rival_scores(ranking, found, 0))));
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

    pub(super) fn set(&self, row: &mut Row, name: &str, value: &Value) {
        row.set(&self.name(name), Cell::from(value));
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
    use super::super::columns::RowStatus;
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
                &Scored {
                    layout: &layout,
                    found: &Found { chosen, ..Found::default() },
                    results: &results,
                    signatures: &[],
                },
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
                .add(
                    &mut row,
                    &Scored { layout: &layout, found: &Found::default(), results: &results, signatures: &[] },
                )
                .unwrap();
            assert_eq!(row.get("score_rank").map(Cell::json), Some(rank), "{by:?}");
            assert_eq!(row.get("score_ranked_by").map(Cell::json), named, "{by:?}");
        }
        let columns = ScoreColumns::new("score_", Some("beauty"));
        let results = [scored(2.0, 1.0)];
        let error = columns.add(
            &mut row.clone(),
            &Scored { layout: &layout, found: &Found::default(), results: &results, signatures: &[] },
        );
        assert!(matches!(error, Err(ScoreError::UnknownAttribute { .. })));
    }
}
