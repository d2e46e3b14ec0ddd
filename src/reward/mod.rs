//! From an engine's products to scores, and from scores to the text that clients read.
//!
//! Each kind of head has its file: `linear` and `mlp` are the layers above an engine's products ([`HeadLayers`]),
//! `row_scores`, `step_scores`, `judge_scores` and `gated_mixture` make scores of their outputs ([`Head`]). [`RankedBy`] is the one
//! rule of which score ranks responses.
//!
//! A score is served as one number in two places: in the text of the response and, as JSON, in its
//! log-probabilities. Both carry the model's f32 widened to f64, which is exact, so a client reads
//! the same number from either, and `float()` of the text gives back every bit.

mod bradley_terry;
mod error;
mod gated_mixture;
mod head;
mod judge_scores;
mod layers;
mod linear;
mod mlp;
mod options;
mod rank;
mod ranked_by;
mod row_scores;
mod score_text;
mod step_scores;

pub(crate) use bradley_terry::strengths;
pub use error::{HeadError, RewardError, ScoreOptionsError, Unscorable};
pub use head::Head;
pub use layers::{HeadLayers, MissingTensor};
pub(crate) use options::{check as check_options, probability};
pub use rank::ranks;
pub use ranked_by::RankedBy;

/// The scores of one conversation.
#[derive(Clone, Debug, PartialEq)]
pub struct Scores {
    /// Attribute and score, in the model's order. Finite; raw, so of any size and sign.
    pub pairs: Vec<(String, f32)>,
}

impl Scores {
    /// Attribute and score as served, the number to put into JSON: an f32 written there directly
    /// would be cut to the digits that an f32 needs, and differ from [`Scores::content`].
    pub fn values(&self) -> impl Iterator<Item = (&str, f64)> + Clone {
        self.pairs.iter().map(|(attribute, value)| (attribute.as_str(), f64::from(*value)))
    }
}
