//! What to do with scores before they are served. This is plain data, of the manifest and of the server's
//! options; [`crate::reward`] applies it.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// What to do with scores, in the order of the fields; by default nothing.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(default, deny_unknown_fields)]
pub struct ScoreOptions {
    /// Turns logits into probabilities.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub activation: Option<ScoreActivation>,
    /// For each attribute: the score becomes `(score - mean) / std`.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub normalize: BTreeMap<String, Normal>,
    /// Smallest and largest score; values outside become the nearer of them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub clamp: Option<[f64; 2]>,
    /// For each attribute: its weight in a sum, which becomes one more score after the others.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub weights: BTreeMap<String, f64>,
    /// Name of the sum; `weighted` by default.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub weighted_name: Option<String>,
}

/// How logits become probabilities.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema, clap::ValueEnum)]
#[serde(rename_all = "snake_case")]
pub enum ScoreActivation {
    /// The sigmoid of each score
    Sigmoid,
    /// The softmax of all scores, which then sum to 1
    Softmax,
}

/// Mean and standard deviation of an attribute's scores.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Normal {
    /// Mean.
    pub mean: f64,
    /// Standard deviation; above 0.
    pub std: f64,
}

/// Default name of the weighted sum.
pub(crate) const WEIGHTED: &str = "weighted";

impl ScoreOptions {
    /// Name of the weighted sum, if there is one.
    pub fn sum_name(&self) -> Option<&str> {
        (!self.weights.is_empty()).then(|| self.weighted_name.as_deref().unwrap_or(WEIGHTED))
    }

    /// Whether scores are served unchanged.
    pub fn is_off(&self) -> bool {
        let Self { activation, normalize, clamp, weights, weighted_name: _ } = self;
        activation.is_none() && normalize.is_empty() && clamp.is_none() && weights.is_empty()
    }

    /// These options, completed by those of `lower`.
    pub fn or(self, lower: Self) -> Self {
        Self {
            activation: self.activation.or(lower.activation),
            normalize: if self.normalize.is_empty() { lower.normalize } else { self.normalize },
            clamp: self.clamp.or(lower.clamp),
            weights: if self.weights.is_empty() { lower.weights } else { self.weights },
            weighted_name: self.weighted_name.or(lower.weighted_name),
        }
    }
}
