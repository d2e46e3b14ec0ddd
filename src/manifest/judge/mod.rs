//! The judge's part of a head: questions that a language model is asked about a conversation, and what its answers
//! are worth.
//!
//! `question` has what is true of every question, `described` reads questions as requests, data files and judges'
//! files spell them, and `file` reads these files.

mod described;
mod file;
mod question;
mod yaml;

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

pub(crate) use described::{FieldError, RubricItem, read_choice, read_rubric};
pub use file::{JudgeFile, JudgeFileError};
pub(crate) use file::{parse_text, read_rubric_file};
pub use question::{AnswerScore, JudgeAnswer, Question, QuestionError};
pub(crate) use question::{LARGEST_WORTH, MAX_QUESTIONS};

/// What a language model is asked. The questions are in the order of the head's attributes.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Judge {
    /// How a question is put.
    #[serde(default)]
    pub layout: QuestionLayout,
    /// The questions, one for each attribute.
    pub questions: Vec<Question>,
}

/// How a question is put to the model.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "snake_case")]
#[value(rename_all = "snake_case")]
pub enum QuestionLayout {
    /// In a further user's turn after the conversation.
    #[default]
    Append,
    /// In one user's turn that quotes the conversation.
    Quote,
}

impl Judge {
    /// Tokens of all answers, each once, ascending; those that are known.
    pub fn tokens(&self) -> Vec<u32> {
        let answers = self.questions.iter().flat_map(|question| &question.answers);
        answers.filter_map(|answer| answer.token).collect::<BTreeSet<_>>().into_iter().collect()
    }
}
