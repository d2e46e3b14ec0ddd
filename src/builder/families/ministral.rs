//! Ministral: Mistral with a window in the layers that `layer_types` names.

use super::mistral;
use super::spec::*;
use super::windows;

pub(super) const SPEC: FamilySpec = FamilySpec {
    name: "ministral",
    title: "Ministral",
    architecture: "Ministral",
    model_type: "ministral",
    windows: Some(Windows { default_keys: Some(4096), layers: windows::listed_or_every_layer }),
    ..mistral::SPEC
};
