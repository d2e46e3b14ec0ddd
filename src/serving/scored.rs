//! [`Scored`]: a conversation's scores and what they cost.

use std::sync::Arc;
use std::time::Duration;

use super::Model;
use crate::manifest::score_options::ScoreOptions;
use crate::prompt::Truncated;
use crate::reward::{Head, Scores};

/// A conversation's scores and what they cost.
#[derive(Clone, Debug)]
pub struct Scored {
    /// The scores.
    pub scores: Scores,
    /// The scores at each token, if they were wanted; the last are `scores`.
    pub tokens: Vec<Scores>,
    /// The probability that a judge answers each question with one of the answers that count; empty if that is
    /// unknown.
    pub answer_mass: Vec<(String, f32)>,
    /// What was done to the scores, if anything.
    pub score_options: Option<ScoreOptions>,
    /// The tokens at which the model was read, by their index.
    pub positions: Arc<[usize]>,
    /// Tokens of the conversation; with a judge, of its prompts for all questions together.
    pub prompt_tokens: usize,
    /// What was cut off the conversation, if anything.
    pub truncated: Option<Truncated>,
    /// How many of the tokens were not computed for this conversation: shared or cached.
    pub cached_tokens: usize,
    /// The head of the request's rubric, if it brought one.
    pub(crate) rubric: Option<Arc<Head>>,
    /// Time until the first iteration.
    pub queue_time: Duration,
    /// Time from there until the engine's output.
    pub inference_time: Duration,
}

impl Scored {
    /// Keeps only the scores that `model` has; those of a rubric are all kept.
    pub(crate) fn select(&mut self, model: Model<'_>) {
        if self.rubric.is_some() {
            return;
        }
        for scores in std::iter::once(&mut self.scores).chain(&mut self.tokens) {
            model.select(scores);
        }
        model.select_pairs(&mut self.answer_mass);
    }

    /// The same with probabilities in place of logits.
    pub(crate) fn activated(self) -> Self {
        let sum = self.score_options.as_ref().and_then(ScoreOptions::sum_name);
        let tokens = self.tokens.into_iter().map(|scores| scores.activated(sum)).collect();
        Self { scores: self.scores.activated(sum), tokens, ..self }
    }
}
