//! [`Head`]: where a conversation is read, and how the outputs there become named scores.

use std::borrow::Cow;
use std::ops::Range;
use std::sync::Arc;

use super::error::{HeadError, RewardError, ScoreOptionsError, Unscorable, check_count, check_finite};
use super::judge_scores::JudgeScores;
use super::row_scores::RowScores;
use super::step_scores::{StepEnds, StepScores};
use super::{RankedBy, Scores, gated_mixture, options};
use crate::manifest::score_options::ScoreOptions;
use crate::manifest::{self, Gating, Judge, Pooling, Question, StepValue, check_attribute_names};

/// How a conversation's outputs become scores.
#[derive(Clone, Debug, PartialEq)]
pub struct Head {
    /// Names of the scores, in the model's order.
    attributes: Vec<String>,
    kind: Kind,
    options: ScoreOptions,
}

/// Kinds of heads, each in a module of its own.
#[derive(Clone, Debug, PartialEq)]
enum Kind {
    Rows(RowScores),
    Steps(StepScores),
    Gated(Gating),
    Judge(JudgeScores),
}

impl Head {
    /// The head that an engine's manifest describes.
    pub fn new(head: &manifest::ManifestHead) -> Self {
        let kind = if let Some(judge) = &head.judge {
            Kind::Judge(JudgeScores::new(judge, &head.rows))
        } else {
            Self::kind(head)
        };
        Self { attributes: head.attributes.clone(), kind, options: head.score.clone() }
    }

    fn kind(head: &manifest::ManifestHead) -> Kind {
        match (&head.pooling, &head.gating) {
            (Pooling::EachStep { token, id, value }, _) => {
                let ends = StepEnds::Token { text: token.clone(), id: *id };
                Kind::Steps(StepScores { ends, value: *value })
            }
            (Pooling::EachEncodedStep { separator, value }, _) => {
                let ends = StepEnds::Encoded { separator: separator.clone() };
                Kind::Steps(StepScores { ends, value: *value })
            }
            (Pooling::EachTurn { pattern }, _) => {
                let ends = StepEnds::Pattern(pattern.clone());
                Kind::Steps(StepScores { ends, value: StepValue::Softmax })
            }
            (Pooling::LastToken, Some(gating)) => Kind::Gated(gating.clone()),
            (Pooling::LastToken | Pooling::LastNonPad { .. } | Pooling::FirstToken | Pooling::Mean, _) => {
                Kind::Rows(RowScores::new(head))
            }
        }
    }

    /// What the model is asked about a conversation, if it judges. The outputs are then those of each question, one
    /// after the other.
    pub fn judge(&self) -> Option<&Judge> {
        match &self.kind {
            Kind::Judge(scores) => Some(scores.judge()),
            _ => None,
        }
    }

    /// Lets `resolve` find the tokens of the answers to each question. It gets the attribute that the question is for.
    ///
    /// # Errors
    /// The first of `resolve`.
    pub(crate) fn resolve_answers<E>(
        &mut self,
        mut resolve: impl FnMut(&str, &mut Question) -> Result<(), E>,
    ) -> Result<(), E> {
        let Kind::Judge(scores) = &mut self.kind else { return Ok(()) };
        scores.update(|questions| {
            for (attribute, question) in self.attributes.iter().zip(questions) {
                resolve(attribute, question)?;
            }
            Ok(())
        })
    }

    /// The probability that the model answers each question with one of the answers that count; empty if the engine
    /// has only these answers' logits, or the model is not asked anything.
    ///
    /// # Errors
    /// As [`Head::scores`].
    pub fn answer_mass(&self, outputs: &[f32]) -> Result<Vec<(String, f32)>, RewardError> {
        let Kind::Judge(scores) = &self.kind else { return Ok(Vec::new()) };
        let masses = scores.answer_mass(&self.attributes, outputs)?;
        Ok(self.attributes.iter().cloned().zip(masses).collect())
    }

    /// The head that a manifest describes, with only some `rows` of the model's own head served, other `names`
    /// and other `options`. Anything not given is taken from the manifest.
    ///
    /// # Errors
    /// They do not fit the model.
    pub fn with_options(
        head: &manifest::ManifestHead,
        rows: Option<Range<usize>>,
        names: Option<&[String]>,
        options: ScoreOptions,
    ) -> Result<Self, HeadError> {
        let mut served = Self::new(head);
        if let Some(rows) = rows {
            let Kind::Rows(scores) = &mut served.kind else { return Err(HeadError::NoRows) };
            scores.choose(head, &rows, &mut served.attributes)?;
        }
        if let Some(names) = names {
            served.rename(names)?;
        }
        served.options = options.or(served.options);
        let plain = matches!(served.kind, Kind::Rows(_));
        super::check_options(&served.options, &served.attributes, plain)?;
        if matches!(served.kind, Kind::Steps(_)) && !served.options.weights.is_empty() {
            return Err(ScoreOptionsError::WeightsOfSteps.into());
        }
        Ok(served)
    }

    fn rename(&mut self, names: &[String]) -> Result<(), HeadError> {
        if names.len() != self.attributes.len() {
            let attributes = self.attributes.clone();
            return Err(HeadError::NameCount { given: names.len(), attributes });
        }
        check_attribute_names(names).map_err(HeadError::UnusableName)?;
        self.attributes = names.to_vec();
        Ok(())
    }

    /// The changes made to the scores, if any.
    pub fn options(&self) -> Option<&ScoreOptions> {
        if self.options.is_off() { None } else { Some(&self.options) }
    }

    /// Whether the scores are the model's own logits, from which probabilities can be made.
    pub fn is_raw(&self) -> bool {
        matches!(self.kind, Kind::Rows(_)) && self.options.activation.is_none()
    }

    /// Whether there is a score for each step of a conversation.
    pub fn scores_steps(&self) -> bool {
        matches!(self.kind, Kind::Steps(_))
    }

    /// Whether the score of a step is the probability that it is right, and not a number of any size.
    pub fn steps_are_probabilities(&self) -> bool {
        matches!(&self.kind, Kind::Steps(StepScores { value: StepValue::Softmax | StepValue::Sigmoid, .. }))
    }

    /// The text that must follow each step of a conversation, if the model scores steps that end with one. It may be
    /// missing after the last of steps that are [encoded one by one](Self::encodes_steps).
    pub fn step_token(&self) -> Option<&str> {
        match &self.kind {
            Kind::Steps(StepScores { ends: StepEnds::Token { text: end, .. }, .. })
            | Kind::Steps(StepScores { ends: StepEnds::Encoded { separator: end }, .. }) => Some(end),
            _ => None,
        }
    }

    /// Whether each step is encoded by itself, so that only the encoder knows where steps end.
    pub fn encodes_steps(&self) -> bool {
        matches!(&self.kind, Kind::Steps(StepScores { ends: StepEnds::Encoded { .. }, .. }))
    }

    /// Checks that the text of an assistant's turn ends with a step token if it has any: what follows the last one
    /// would get no score.
    ///
    /// # Errors
    /// It does not.
    pub fn check_last_step(&self, text: &str) -> Result<(), Unscorable> {
        let Some(token) = self.step_token().filter(|_| !self.encodes_steps()) else { return Ok(()) };
        let (end, mark) = (text.trim_end(), token.trim());
        if mark.is_empty() || !end.contains(mark) || end.ends_with(mark) {
            return Ok(());
        }
        Err(Unscorable::OpenStep { token: token.to_owned() })
    }

    /// Names of the scores, in the model's order; for steps, the one name that they share.
    pub fn attributes(&self) -> &[String] {
        &self.attributes
    }

    /// The positions at which a conversation is read, ascending.
    ///
    /// # Errors
    /// It lacks the tokens at which the model is read.
    pub fn positions(&self, tokens: &[u32]) -> Result<Arc<[usize]>, Unscorable> {
        match &self.kind {
            Kind::Rows(rows) => Ok([rows.position(tokens)].into()),
            Kind::Steps(steps) => steps.positions(tokens),
            Kind::Gated(gating) => gated_mixture::positions(gating, tokens),
            Kind::Judge(_) => Ok([tokens.len().saturating_sub(1)].into()),
        }
    }

    /// Turns the engine's `outputs`, `[positions, outputs]`, into scores; raw unless there are options.
    ///
    /// # Errors
    /// The number of outputs is wrong, or one is not finite.
    pub fn scores(&self, outputs: &[f32]) -> Result<Scores, RewardError> {
        let pairs = match &self.kind {
            Kind::Rows(rows) => self.named(&rows.scores(outputs)?)?,
            Kind::Steps(steps) => steps.scores(self.step_name(), outputs)?,
            Kind::Gated(gating) => self.named(&gated_mixture::scores(gating, outputs)?)?,
            Kind::Judge(judge) => self.named(&judge.scores(&self.attributes, outputs)?)?,
        };
        // All steps belong to the one attribute.
        let attribute = |index: usize| self.attributes.get(index).or(self.attributes.last());
        options::apply(&self.options, Scores { pairs }, |index| attribute(index).map_or("", String::as_str))
    }

    /// Whether a score depends on one token's outputs alone, so that it can be read at any token.
    pub fn scores_any_token(&self) -> bool {
        matches!(&self.kind, Kind::Rows(rows) if !rows.is_of_whole_text())
    }

    /// Turns the outputs of each of `count` tokens into scores: those of the last token, which are the text's, and
    /// those of all. The head [scores any token](Self::scores_any_token).
    ///
    /// # Errors
    /// As [`Head::scores`].
    pub fn scores_at_each(
        &self,
        outputs: &[f32],
        count: usize,
    ) -> Result<(Scores, Vec<Scores>), RewardError> {
        let width = outputs.len() / count.max(1);
        check_count(outputs.len(), width * count)?;
        let mut tokens = Vec::with_capacity(count);
        for outputs in outputs.chunks(width.max(1)) {
            tokens.push(self.scores(outputs)?);
        }
        let last = tokens.last().cloned().unwrap_or(Scores { pairs: Vec::new() });
        Ok((last, tokens))
    }

    /// Names of the scores that every conversation has, in their order; none if the model scores steps, because their
    /// number varies.
    pub fn names(&self) -> Vec<&str> {
        if self.scores_steps() {
            return Vec::new();
        }
        self.attributes.iter().map(String::as_str).chain(self.options.sum_name()).collect()
    }

    /// Every name that responses can be ranked by.
    pub fn ranking_names(&self) -> Vec<String> {
        if self.scores_steps() {
            return RankedBy::summaries(self.step_name());
        }
        self.names().into_iter().map(str::to_owned).collect()
    }

    /// The name of [`Head::single`].
    pub fn single_name(&self) -> String {
        let names = self.names();
        let name = if self.ends_with_mixture() { names.last() } else { names.first() };
        if self.scores_steps() {
            format!("min({})", self.step_name())
        } else {
            name.copied().unwrap_or_default().to_owned()
        }
    }

    /// The score for clients that want a single number: the lowest step, else the weighted sum or the mixture
    /// if there is one, else the first score. `None` if there are no scores.
    pub fn single(&self, scores: &Scores) -> Option<f32> {
        let mut values = scores.pairs.iter().map(|(_, value)| *value);
        if self.scores_steps() {
            values.min_by(f32::total_cmp)
        } else if self.ends_with_mixture() {
            values.next_back()
        } else {
            values.next()
        }
    }

    fn ends_with_mixture(&self) -> bool {
        matches!(self.kind, Kind::Gated(_)) || self.options.sum_name().is_some()
    }

    /// Scores under the names that metrics use: all steps share one, since there may be any number of them.
    pub fn counted<'a>(&self, scores: &'a Scores) -> Cow<'a, [(String, f32)]> {
        if self.scores_steps() {
            scores.pairs.iter().map(|(_, score)| (self.step_name().to_owned(), *score)).collect()
        } else {
            Cow::Borrowed(&scores.pairs)
        }
    }

    fn step_name(&self) -> &str {
        self.attributes.first().map_or("step", String::as_str)
    }

    /// Pairs each attribute with its score.
    fn named(&self, scores: &[f32]) -> Result<Vec<(String, f32)>, RewardError> {
        check_count(scores.len(), self.attributes.len())?;
        let mut pairs = Vec::new();
        for (name, score) in self.attributes.iter().zip(scores) {
            check_finite(name, &[*score])?;
            pairs.push((name.clone(), *score));
        }
        Ok(pairs)
    }
}

#[cfg(test)]
mod tests;
