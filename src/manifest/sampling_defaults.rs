//! Sampling parameters that a checkpoint recommends.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// The values of [`crate::sampling::Sampling`] that a model's makers recommend, for requests without them.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(default, deny_unknown_fields)]
pub struct SamplingDefaults {
    /// [`crate::sampling::Sampling::temperature`]; 0 if tokens should not be drawn at random.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub temperature: Option<f32>,
    /// [`crate::sampling::Sampling::top_k`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub top_k: Option<usize>,
    /// [`crate::sampling::Sampling::top_p`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub top_p: Option<f32>,
    /// [`crate::sampling::Sampling::min_p`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub min_p: Option<f32>,
    /// [`crate::sampling::Sampling::repetition_penalty`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub repetition_penalty: Option<f32>,
    /// [`crate::sampling::Sampling::max_tokens`] of a response in a conversation.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_tokens: Option<usize>,
}

impl SamplingDefaults {
    /// Whether nothing is recommended.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// For example `temperature 0.6, top_p 0.95`; empty if nothing is recommended.
impl std::fmt::Display for SamplingDefaults {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let float = |value: Option<f32>| value.map(|value| value.to_string());
        let whole = |value: Option<usize>| value.map(|value| value.to_string());
        let values = [
            ("temperature", float(self.temperature)),
            ("top_k", whole(self.top_k)),
            ("top_p", float(self.top_p)),
            ("min_p", float(self.min_p)),
            ("repetition_penalty", float(self.repetition_penalty)),
            ("max_tokens", whole(self.max_tokens)),
        ];
        let given = values.iter().filter_map(|(name, value)| Some(format!("{name} {}", value.as_ref()?)));
        f.write_str(&given.collect::<Vec<_>>().join(", "))
    }
}
