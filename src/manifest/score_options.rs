//! What may be done to scores before they are served: plain data of the manifest and of the server's
//! options; [`crate::reward`] does it.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// What is done to scores, in the order of the fields; by default nothing.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(default, deny_unknown_fields)]
pub struct ScoreOptions {
    /// What makes probabilities of logits.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub activation: Option<ScoreActivation>,
    /// By attribute: the score becomes `(score - mean) / std`.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub normalize: BTreeMap<String, Normal>,
    /// Least and largest score; what lies outside becomes the nearer of them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub clamp: Option<[f64; 2]>,
    /// By attribute: its share in a sum that follows the scores as one more.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub weights: BTreeMap<String, f64>,
    /// What the sum is called; `weighted` unless given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub weighted_name: Option<String>,
}

/// What makes probabilities of logits.
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

/// Name of the weighted sum unless another is given.
const WEIGHTED: &str = "weighted";

impl ScoreOptions {
    /// What the weighted sum is called, where there is one.
    pub fn sum_name(&self) -> Option<&str> {
        (!self.weights.is_empty()).then(|| self.weighted_name.as_deref().unwrap_or(WEIGHTED))
    }

    /// Whether scores are served as they are.
    pub fn is_off(&self) -> bool {
        let Self { activation, normalize, clamp, weights, weighted_name: _ } = self;
        activation.is_none() && normalize.is_empty() && clamp.is_none() && weights.is_empty()
    }

    /// These options, with those of `lower` where these say nothing.
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
