//! Command R7B: Command R with windows in three of four layers, and only those are rotated.

use super::cohere;
use super::spec::*;
use super::{rope, windows};
use crate::builder::BuildError;
use crate::builder::json::Object;
use crate::manifest::QkNorm;

pub(super) const SPEC: FamilySpec = FamilySpec {
    name: "cohere2",
    title: "Cohere Command R7B",
    architecture: "Cohere2",
    model_type: "cohere2",
    rotary: Rotary { theta: 10_000.0, read: rope::read_cohere2, ..cohere::SPEC.rotary },
    norms: Norms { queries_and_keys: QkNorm::None, queries_and_keys_if: None, ..cohere::SPEC.norms },
    windows: Some(Windows { default_keys: Some(4096), layers: all_but_every_nth_layer }),
    trtllm: Err(TrtllmSpec::NO_CLASS),
    ..cohere::SPEC
};

/// `layer_types`, else all layers but each `sliding_window_pattern`th.
fn all_but_every_nth_layer(config: &Object, fields: &WindowFields) -> Result<Vec<usize>, BuildError> {
    windows::all_but_every_nth(config, fields, 4)
}
