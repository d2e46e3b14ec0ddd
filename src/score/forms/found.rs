//! What a form finds in a row.

use serde_json::Value;

use super::super::ConversationError;
use super::super::conversation::Conversation;
use crate::prompt::TemplateVariables;

/// A response with its conversation.
#[derive(Clone, Debug)]
pub(in crate::score) struct Candidate {
    /// The conversation, or why this response has none while others of its row may.
    pub(in crate::score) turns: Result<Conversation, ConversationError>,
    /// The response as the row has it: a text or messages.
    pub(in crate::score) response: Value,
}

/// The conversations of a row.
#[derive(Clone, Debug, Default)]
pub(in crate::score) struct Found {
    /// The responses, in the order of the row; where a form holds chosen and rejected ones, the chosen first.
    pub(in crate::score) candidates: Vec<Candidate>,
    /// How many of them are chosen, where a form holds chosen and rejected ones.
    pub(in crate::score) chosen: usize,
    /// What people or a stronger model thought of each response, more for a better one. Empty if the row does not
    /// say.
    pub(in crate::score) ratings: Vec<Option<f64>>,
    /// The prompt that each response answers, as a number; empty if all answer the same one. Only responses to the same
    /// prompt are ranked together.
    pub(in crate::score) prompts: Vec<usize>,
    /// The columns that hold the responses: the best one takes their place.
    pub(in crate::score) columns: Vec<String>,
    /// Whether those columns also hold the prompt, so that it is nowhere else in the row.
    pub(in crate::score) hold_prompt: bool,
    /// What the row gives to the chat template, for all of its conversations.
    pub(in crate::score) variables: TemplateVariables,
    /// The first wrong step, counted from 0, and -1 if all are right; `None` if the row does not say.
    pub(in crate::score) first_error: Option<i64>,
}

impl Found {
    /// One conversation.
    pub(super) fn from_one(candidate: Candidate, columns: &[&str]) -> Self {
        Self::group(vec![candidate], columns)
    }

    /// Several responses.
    pub(super) fn group(candidates: Vec<Candidate>, columns: &[&str]) -> Self {
        let columns = columns.iter().map(|name| (*name).to_owned()).collect();
        Self { candidates, columns, ..Self::default() }
    }

    /// A chosen and a rejected response.
    pub(super) fn pair(chosen: Candidate, rejected: Candidate, columns: [&str; 2]) -> Self {
        Self { chosen: 1, ..Self::group(vec![chosen, rejected], &columns) }
    }

    /// Adds what is thought of each response.
    pub(super) fn rated(mut self, ratings: Vec<Option<f64>>) -> Self {
        self.ratings = ratings;
        self
    }

    /// Whether two responses answer the same prompt.
    pub(in crate::score) fn are_rivals(&self, one: usize, other: usize) -> bool {
        self.prompts.is_empty() || self.prompts.get(one) == self.prompts.get(other)
    }

    /// Adds which of two responses is preferred: the first if `preference` is positive, the second if it is
    /// negative, neither if it is 0.
    pub(super) fn preferred(self, preference: Option<f64>) -> Self {
        match preference {
            Some(preference) => self.rated(vec![Some(preference), Some(-preference)]),
            None => self,
        }
    }
}
