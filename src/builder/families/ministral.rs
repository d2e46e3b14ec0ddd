//! Ministral: Mistral with a window in the layers that `layer_types` names.

use super::mistral;
use super::spec::*;
use super::windows;
use crate::builder::json::Object;

pub(super) const SPEC: FamilySpec = FamilySpec {
    name: "ministral",
    title: "Ministral",
    architecture: "Ministral",
    model_type: "ministral",
    windows: Some(Windows { default_keys: Some(4096), layers: windows::listed_or_every_layer }),
    ..mistral::SPEC
};

/// Ministral if `family` is Mistral and the checkpoint lists the kinds of its layers: transformers' `AutoConfig` reads
/// such a `config.json` as Ministral's.
pub(super) fn if_layers_are_listed(config: &Object, family: &'static FamilySpec) -> &'static FamilySpec {
    if family.name == mistral::SPEC.name && config.has("layer_types") { &SPEC } else { family }
}
