//! Why a head cannot be set up, cannot read a conversation, or got no scores.
//!
//! The errors carry data and name no command line option and no field of a request: callers know what the
//! settings are called where they were given.

use crate::manifest::AttributeNameError;

/// The scores of an engine cannot be served as asked for.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[expect(missing_docs, reason = "the messages name the fields")]
pub enum HeadError {
    /// Rows were chosen from a head whose scores are not single rows.
    #[error("this model's scores are not single logits, so none can be chosen")]
    NoRows,
    /// Rows were chosen that the engine does not have.
    #[error(
        "the engine has the logits {held:?} of the model, not all of {first} to {last}; choose among these, or \
         build the engine again with other rows"
    )]
    UnknownRows {
        /// First of the chosen rows.
        first: usize,
        /// Last of the chosen rows.
        last: usize,
        /// Rows of the model's head that the engine has.
        held: Vec<usize>,
    },
    /// The names for the scores do not match them in number.
    #[error("{given} names for {} scores ({}); give one name for each", attributes.len(), attributes.join(", "))]
    NameCount {
        given: usize,
        /// The model's own names for the scores.
        attributes: Vec<String>,
    },
    /// A name for a score cannot be used.
    #[error(transparent)]
    UnusableName(AttributeNameError),
    /// The score options do not fit the model.
    #[error(transparent)]
    Options(#[from] ScoreOptionsError),
}

/// Score options do not fit a model.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[expect(missing_docs, reason = "the messages name the fields")]
pub enum ScoreOptionsError {
    /// An activation of scores that are already probabilities, or a mixture weighted by them.
    #[error("this model's scores already come from a softmax; leave it out")]
    ActivationOfProbabilities,
    /// A softmax over a single score.
    #[error("the softmax of one score is 1 whatever the text; use sigmoid, or leave it out")]
    SoftmaxOfOne,
    /// Mean and deviation for an attribute that the model does not have.
    #[error("the model has no attribute `{name}`; it has {}", attributes.join(", "))]
    NormalOfUnknown { name: String, attributes: Vec<String> },
    /// A mean that is not finite, or a standard deviation that is not above 0.
    #[error("{name} has mean {mean} and deviation {std}; give finite numbers, the deviation above 0")]
    InvalidNormal { name: String, mean: f64, std: f64 },
    /// A range that is empty or has no finite bounds.
    #[error("{least},{largest} is not a range; give two finite numbers, the lower one first")]
    InvalidClamp { least: f64, largest: f64 },
    /// A weight for an attribute that the model does not have.
    #[error("the model has no attribute `{name}`; it has {}", attributes.join(", "))]
    WeightOfUnknown { name: String, attributes: Vec<String> },
    /// A weight that is too large, or not a number.
    #[error("{name} has weight {weight}; give a number from -1e9 to 1e9")]
    InvalidWeight { name: String, weight: f64 },
    /// Weights for a model that scores steps.
    #[error("this model has a score for each step, and steps have no weights")]
    WeightsOfSteps,
    /// A name for the weighted sum, but no weights.
    #[error("`{0}` names the weighted sum, but no weights are given")]
    NameWithoutWeights(String),
    /// The weighted sum's name cannot be used.
    #[error(transparent)]
    UnusableName(AttributeNameError),
}

impl ScoreOptionsError {
    /// The field of [`crate::manifest::score_options::ScoreOptions`] that is at fault.
    pub fn field(&self) -> &'static str {
        match self {
            Self::ActivationOfProbabilities | Self::SoftmaxOfOne => "activation",
            Self::NormalOfUnknown { .. } | Self::InvalidNormal { .. } => "normalize",
            Self::InvalidClamp { .. } => "clamp",
            Self::WeightOfUnknown { .. } | Self::InvalidWeight { .. } | Self::WeightsOfSteps => "weights",
            Self::NameWithoutWeights(_) | Self::UnusableName(_) => "weighted_name",
        }
    }
}

/// A conversation lacks the tokens at which the model's scores are read: the request's fault.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[expect(missing_docs, reason = "the messages name the fields")]
pub enum Unscorable {
    /// No step for a process reward model.
    #[error("the model scores steps, and no assistant's turn contains {token}; put {token} after each step")]
    NoStep { token: String },
    /// The last step lacks the token that ends it, so it would get no score.
    #[error(
        "the model scores steps, and the last one does not end with {token}; put {token} after each step"
    )]
    OpenStep { token: String },
    /// A text or token ids for a model whose steps are encoded one by one.
    #[error(
        "the model was trained on steps that are encoded one by one, and a text or token ids do not show where the steps \
         start; send messages instead, the last of them an assistant's turn with all steps"
    )]
    StepsOfATurn,
    /// The conversation has no assistant's turn, but the model scores a step at each.
    #[error(
        "the model scores an assistant's turn after each step; send each step as a user's turn and `+` as its answer"
    )]
    NoTurn,
    /// The conversation has no answer, but the model also reads where the prompt ends.
    #[error("the model scores a response to a prompt; send a user's turn and then the assistant's")]
    NoAnswer,
    /// A text or token ids for a judge.
    #[error(
        "the model judges conversations: its chat template puts each question to it with the messages, and this is a \
         plain text or token ids"
    )]
    NotAConversation,
    /// A conversation that was rendered already, for a judge that cannot continue it.
    #[error(
        "the model judges conversations, and where its chat template puts the question depends on the messages, which a \
         text with the template applied does not show"
    )]
    Rendered,
    /// A judge was asked to continue the last message.
    #[error("the model is asked about the conversation after its end; leave it out")]
    Continued,
}

/// Why logits are not scores. Always the engine's fault, never the request's.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[expect(missing_docs, reason = "the messages name the fields")]
pub enum RewardError {
    /// Not as many as the head has for the positions read.
    #[error("the engine returned {logits} logits, expected {expected}")]
    Count {
        /// Logits that came.
        logits: usize,
        /// Logits that the head needs.
        expected: usize,
    },
    /// A NaN or an infinity.
    #[error("the engine returned {value} for the attribute `{attribute}`, which is not a score")]
    NotFinite {
        attribute: String,
        /// NaN or an infinity.
        value: f32,
    },
}

/// Checks the number of logits.
pub(super) fn check_count(logits: usize, expected: usize) -> Result<(), RewardError> {
    if logits == expected { Ok(()) } else { Err(RewardError::Count { logits, expected }) }
}

/// Refuses values that are not finite: after a softmax they could look like a score.
pub(super) fn check_finite(attribute: &str, values: &[f32]) -> Result<(), RewardError> {
    match values.iter().find(|value| !value.is_finite()) {
        Some(&value) => Err(RewardError::NotFinite { attribute: attribute.to_owned(), value }),
        None => Ok(()),
    }
}
