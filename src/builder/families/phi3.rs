//! Phi-3 and Phi-4.

use serde_json::{Map, Value, json};

use super::rope;
use super::spec::*;
use super::trtllm_fields::{OTHER_HEAD_WIDTH, THESE_BIASES, has_other_head_width, object, rotary_fraction};
use super::windows;
use crate::builder::BuildError;
use crate::manifest::{Model, RopeScaling};

pub(super) const SPEC: FamilySpec = FamilySpec {
    name: "phi3",
    title: "Phi-3",
    architecture: "Phi3",
    model_type: "phi3",
    defaults: Defaults {
        max_position_embeddings: 4096,
        head_dim: None,
        num_kv_heads: None,
        tied_embeddings: false,
        ..Defaults::NONE
    },
    rotary: Rotary { partial: Some(1.0), read: rope::read_phi3, ..Rotary::WHOLE },
    windows: Some(Windows { default_keys: None, layers: windows::every_layer }),
    norms: Norms { default_eps: 1e-5, ..Norms::RMS },
    tensors: TensorNames {
        qkv: Qkv::Fused("self_attn.qkv_proj"),
        gate_up: GateUp::Fused("mlp.gate_up_proj"),
        ..TensorNames::COMMON
    },
    trtllm: Ok(TrtllmSpec {
        architecture: "Phi3ForCausalLM",
        fp8: true,
        stages: false,
        fused_gate: true,
        fields: trtllm_fields,
        lacks,
        ..TrtllmSpec::COMMON
    }),
    ..FamilySpec::COMMON
};

fn trtllm_fields(model: &Model, _: Option<f32>) -> Result<Map<String, Value>, BuildError> {
    let mut fields = object(json!({ "rotary_pct": rotary_fraction(model), "tie_word_embeddings": false }));
    if let RopeScaling::LongRope { short_factor, long_factor, original_max_position_embeddings, .. } =
        &model.rope.scaling
    {
        fields.extend(object(json!({
            "position_embedding_type": "long_rope",
            "longrope_scaling_short_factors": short_factor,
            "longrope_scaling_long_factors": long_factor,
            "original_max_position_embeddings": original_max_position_embeddings,
        })));
    }
    Ok(fields)
}

fn lacks(model: &Model) -> Option<&'static str> {
    if model.qkv_bias || model.output_bias || model.mlp_bias {
        return Some(THESE_BIASES);
    }
    has_other_head_width(model).then_some(OTHER_HEAD_WIDTH)
}
