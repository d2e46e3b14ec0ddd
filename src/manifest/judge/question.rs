//! A question with its answers, and what makes one that cannot be asked.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use crate::manifest::wording::counted;

/// Most questions of a judge, or items of a rubric.
pub(crate) const MAX_QUESTIONS: usize = 64;
/// Most answers to a question.
const MAX_ANSWERS: usize = 64;

/// Largest worth of an answer and weight of an item, so that sums of them are numbers.
pub(crate) const LARGEST_WORTH: f64 = 1e9;

/// A question about a conversation.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Question {
    /// Its text.
    pub ask: String,
    /// The answers that count.
    pub answers: Vec<JudgeAnswer>,
    /// How their logits become the score.
    #[serde(default)]
    pub score: AnswerScore,
}

/// An answer of one token.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct JudgeAnswer {
    /// Its text.
    pub text: String,
    /// What it is worth.
    pub worth: f64,
    /// Its token; found when the engine is built or loaded.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token: Option<u32>,
}

/// How the logits of the answers become a score. The best answer is the one that is worth the most.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "snake_case")]
#[value(rename_all = "snake_case")]
pub enum AnswerScore {
    /// The worth of the answers, weighted by their probabilities among each other.
    #[default]
    Expectation,
    /// The probability of the best answer among the answers.
    Probability,
    /// The logit of the best answer.
    Logit,
    /// The logit of the best of two answers minus that of the other.
    LogitDifference,
    /// The logarithm of the odds of the best answer against the others.
    LogOdds,
}

/// Why a question cannot be asked: the rest of a sentence that starts with [`QuestionError::field`]. Which question it
/// is, the caller knows.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum QuestionError {
    /// There is no text.
    #[error("is empty; write the question that the model is to answer")]
    EmptyAsk,
    /// The question leaves no room for a conversation.
    #[error(
        "makes a prompt of {tokens} tokens before any conversation is added, and this engine takes {limit}; shorten it"
    )]
    TooLong {
        /// Tokens of the prompt without a conversation.
        tokens: usize,
        /// Tokens of the longest prompt.
        limit: usize,
    },
    /// Too few or too many answers.
    #[error("has {}; give 2 to {MAX_ANSWERS}, each a token and what it is worth", counted(*.0, "answer"))]
    AnswerCount(usize),
    /// An answer has no text.
    #[error("has an answer without a text; give each the text of a token")]
    EmptyAnswer,
    /// Two answers have one text.
    #[error("has {0:?} twice; leave one out")]
    EqualAnswers(String),
    /// An answer's worth is too large, or not a number.
    #[error("gives {0:?} a worth that is not a number from -1e9 to 1e9; change it")]
    Worth(String),
    /// No answer is better than all others.
    #[error(
        "has no answer that is worth more than all others, so there is no best one to score; change what they are worth"
    )]
    NoBest,
    /// A difference of more or fewer than two logits.
    #[error("is `logit_difference`, which needs two answers, and there are {0}; use `log_odds`")]
    NotTwo(usize),
    /// An answer has several tokens, or none of its own.
    #[error(
        "has the answer {answer:?}, which is not one token where this model's chat template starts an answer, but {}: \
         {}; choose answers of one token, such as Yes and No or single digits",
        tokens.len(), quoted(tokens)
    )]
    SeveralTokens {
        /// The answer.
        answer: String,
        /// The tokens that it makes.
        tokens: Vec<String>,
    },
    /// The same of an answer that holds unless others are given.
    #[error(
        "must be given for this model: without it the answers are Yes and No, and {answer:?} is not one token where \
         this model's chat template starts an answer, but {}: {}; choose answers of one token, such as single digits",
        tokens.len(), quoted(tokens)
    )]
    DefaultOfSeveralTokens {
        /// The answer.
        answer: String,
        /// The tokens that it makes.
        tokens: Vec<String>,
    },
    /// An answer is a token that structures conversations.
    #[error(
        "has the answer {0:?}, a control token, which structures a conversation and answers no question; choose a word \
         or a digit"
    )]
    ControlToken(String),
    /// Two answers start with one token.
    #[error(
        "has the answers {first:?} and {second:?}, which start with the same token, {token:?}, so that the model's \
         answer does not tell them apart; change one"
    )]
    SharedToken {
        /// One answer.
        first: String,
        /// The other.
        second: String,
        /// Their first token.
        token: String,
    },
    /// The chat template cannot put the question.
    #[error(
        "does not suit this model, whose chat template cannot put a question that way: {0}; choose another"
    )]
    Template(String),
}

fn quoted(tokens: &[String]) -> String {
    tokens.iter().map(|token| format!("{token:?}")).collect::<Vec<_>>().join(", ")
}

impl QuestionError {
    /// The field at fault.
    pub fn field(&self) -> &'static str {
        match self {
            Self::EmptyAsk | Self::TooLong { .. } => "ask",
            Self::NotTwo(_) => "score",
            Self::Template(_) => "layout",
            Self::AnswerCount(_)
            | Self::EmptyAnswer
            | Self::EqualAnswers(_)
            | Self::Worth(_)
            | Self::NoBest
            | Self::SeveralTokens { .. }
            | Self::DefaultOfSeveralTokens { .. }
            | Self::ControlToken(_)
            | Self::SharedToken { .. } => "answers",
        }
    }
}

impl Question {
    /// A question whose answers are `Yes`, worth 1, and `No`, worth 0.
    pub fn yes_or_no(ask: impl Into<String>) -> Self {
        let answer = |text: &str, worth| JudgeAnswer { text: text.to_owned(), worth, token: None };
        Self {
            ask: ask.into(),
            answers: vec![answer("Yes", 1.0), answer("No", 0.0)],
            score: AnswerScore::Expectation,
        }
    }

    /// Whether its answers are those of a question that names none.
    pub(crate) fn has_default_answers(&self) -> bool {
        self.answers.iter().map(|answer| answer.text.as_str()).eq(["Yes", "No"])
    }

    /// Checks everything that does not depend on the model.
    ///
    /// # Errors
    /// See [`QuestionError`].
    pub fn check(&self) -> Result<(), QuestionError> {
        let Self { ask, answers, score } = self;
        if ask.trim().is_empty() {
            return Err(QuestionError::EmptyAsk);
        }
        if !(2..=MAX_ANSWERS).contains(&answers.len()) {
            return Err(QuestionError::AnswerCount(answers.len()));
        }
        let mut texts = BTreeSet::new();
        for JudgeAnswer { text, worth, .. } in answers {
            if text.trim().is_empty() {
                return Err(QuestionError::EmptyAnswer);
            }
            if !texts.insert(text) {
                return Err(QuestionError::EqualAnswers(text.clone()));
            }
            if !(-LARGEST_WORTH..=LARGEST_WORTH).contains(worth) {
                return Err(QuestionError::Worth(text.clone()));
            }
        }
        if *score == AnswerScore::LogitDifference && answers.len() != 2 {
            return Err(QuestionError::NotTwo(answers.len()));
        }
        let most = self.answers[self.best()].worth;
        let best = answers.iter().filter(|answer| answer.worth >= most).count();
        let needs_best = *score != AnswerScore::Expectation;
        if best == answers.len() || needs_best && best > 1 {
            return Err(QuestionError::NoBest);
        }
        Ok(())
    }

    /// The index of the first answer that is worth the most.
    pub fn best(&self) -> usize {
        let mut best = 0;
        for (index, answer) in self.answers.iter().enumerate() {
            if answer.worth > self.answers[best].worth {
                best = index;
            }
        }
        best
    }
}
