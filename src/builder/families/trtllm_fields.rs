//! What the TensorRT-LLM forms of several families share.

use serde_json::{Map, Value, json};

use crate::builder::BuildError;
use crate::manifest::{Model, SlidingWindow};

/// What [`super::spec::TrtllmSpec::lacks`] says about biases.
pub(super) const THESE_BIASES: &str = "biases for only the projections that have them in this checkpoint";

/// What mixtures of experts have that TensorRT-LLM's classes cannot express. Those build every layer with experts.
pub(super) fn lacks_for_experts(model: &Model) -> Option<&'static str> {
    let Some(experts) = &model.variant.experts else { return Some("layers without experts") };
    if experts.layers.len() != model.num_layers {
        return Some("layers without experts");
    }
    // Its classes take a single one for no mixture.
    if experts.count == 1 {
        return Some("mixtures of one expert");
    }
    (model.output_bias || model.mlp_bias).then_some(THESE_BIASES)
}

/// How tokens choose experts (`MoeConfig`).
pub(super) fn moe(model: &Model) -> Value {
    let Some(experts) = &model.variant.experts else { return Value::Null };
    // ExpertScaleNormalizationMode: the shares of all experts as they are, or those of the chosen ones.
    let normalization = i32::from(experts.normalized);
    json!({ "num_experts": experts.count, "top_k": experts.active, "normalization_mode": normalization })
}

/// The fields of a JSON object.
pub(super) fn object(fields: Value) -> Map<String, Value> {
    match fields {
        Value::Object(fields) => fields,
        other => unreachable!("the fields of a form are an object, not {other}"),
    }
}

/// What [`super::spec::TrtllmSpec::lacks`] says if [`has_other_head_width`].
pub(super) const OTHER_HEAD_WIDTH: &str = "heads of another width than hidden_size / num_attention_heads";

/// Whether the heads together are not as wide as the residual stream, which some classes take for granted.
pub(super) fn has_other_head_width(model: &Model) -> bool {
    model.head_dim * model.num_heads != model.hidden_size
}

/// One flag covers the biases of all projections of the attention.
pub(super) fn lacks_split_attention_bias(model: &Model) -> Option<&'static str> {
    (model.qkv_bias != model.output_bias).then_some(THESE_BIASES)
}

/// A number as short as it is exact: 1e-5, not what that becomes as a double.
pub(crate) fn number(value: f32) -> Value {
    match value.to_string().parse::<f64>() {
        Ok(number) => Value::from(number),
        Err(error) => unreachable!("the text of the number {value}: {error}"),
    }
}

/// The fraction of each head that is rotated.
pub(super) fn rotary_fraction(model: &Model) -> f64 {
    model.variant.rotary_dim.unwrap_or(model.head_dim) as f64 / model.head_dim as f64
}

/// `query_pre_attn_scalar` of the checkpoint: an integer in every published model.
pub(super) fn query_scalar(model: &Model) -> Value {
    let scale = f64::from(model.variant.attention_scale.unwrap_or(1.0));
    let scalar = 1.0 / (scale * scale);
    if (scalar - scalar.round()).abs() < 1e-3 {
        Value::from(scalar.round() as u64)
    } else {
        Value::from(scalar)
    }
}

/// The period of the layers without a window: counted from 1, they are its multiples.
///
/// # Errors
/// There is no such period.
pub(super) fn window_period(window: &SlidingWindow, model: &Model) -> Result<usize, BuildError> {
    let full = (0..model.num_layers).find(|layer| !window.layers.contains(layer));
    let period = full.unwrap_or(model.num_layers) + 1;
    let expected = (0..model.num_layers).filter(|layer| !(layer + 1).is_multiple_of(period));
    if expected.eq(window.layers.iter().copied()) {
        return Ok(period);
    }
    Err(BuildError::Option(format!(
        "{}: its layers with a window follow no regular pattern, which TensorRT-LLM's Gemma 3 needs; build it for \
         --target cpu",
        model.name
    )))
}
