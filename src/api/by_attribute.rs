//! Scores as a JSON object.

use serde::Serialize;
use serde_json::{Map, Value};
use utoipa::ToSchema;

use crate::reward::Scores;

/// Scores by attribute, in the model's order.
#[derive(Debug, Serialize, ToSchema)]
#[serde(transparent)]
#[schema(value_type = std::collections::BTreeMap<String, f64>)]
pub(super) struct ByAttribute(Map<String, Value>);

impl From<&Scores> for ByAttribute {
    fn from(scores: &Scores) -> Self {
        Self(scores.values().map(|(name, value)| (name.to_owned(), value.into())).collect())
    }
}
