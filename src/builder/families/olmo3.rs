//! OLMo 3: OLMo 2 with a window in three of four layers, and rotary scaling only in the fourth.

use super::olmo2;
use super::rope;
use super::spec::*;
use crate::builder::BuildError;
use crate::builder::json::Object;

pub(super) const SPEC: FamilySpec = FamilySpec {
    name: "olmo3",
    title: "OLMo 3",
    architecture: "Olmo3",
    model_type: "olmo3",
    rotary: Rotary { theta: 500_000.0, read: rope::read_olmo3, ..Rotary::WHOLE },
    windows: Some(Windows { default_keys: Some(4096), layers: all_but_every_fourth }),
    ..olmo2::SPEC
};

/// `layer_types`, else all layers but each fourth.
fn all_but_every_fourth(_: &Object, fields: &WindowFields) -> Result<Vec<usize>, BuildError> {
    let windowed = |layer: &usize| !(layer + 1).is_multiple_of(4);
    Ok(fields.listed.clone().unwrap_or_else(|| (0..fields.num_layers).filter(windowed).collect()))
}
