//! Gemma 2.

use serde_json::{Map, Value, json};

use super::spec::*;
use super::trtllm_fields::{lacks_split_attention_bias, number, object, query_scalar};
use crate::builder::BuildError;
use crate::builder::json::Object;
use crate::manifest::Model;

pub(super) const SPEC: FamilySpec = FamilySpec {
    name: "gemma2",
    title: "Gemma 2",
    architecture: "Gemma2",
    model_type: "gemma2",
    defaults: Defaults {
        max_position_embeddings: 8192,
        head_dim: Some(256),
        num_kv_heads: Some(4),
        tied_embeddings: true,
        ..Defaults::NONE
    },
    biases: Biases { qkv: Bias::If("attention_bias"), output: Bias::If("attention_bias"), mlp: Bias::Absent },
    attention: Attention {
        query_scalar: Some(256.0),
        softcap: Some(Softcap { field: ATTENTION_CAP, default: Some(50.0) }),
    },
    windows: Some(Windows { default_keys: Some(4096), layers: every_other_layer }),
    norms: NORMS,
    activation: ActivationSpec::GELU_TANH,
    scaled_embedding: true,
    final_softcap: Some(Softcap { field: "final_logit_softcapping", default: Some(30.0) }),
    trtllm: Ok(TRTLLM),
    ..FamilySpec::COMMON
};

pub(super) const NORMS: Norms = Norms {
    weight_offset: 1.0,
    inputs: Some(["input_layernorm", "pre_feedforward_layernorm"]),
    outputs: Some(["post_attention_layernorm", "post_feedforward_layernorm"]),
    ..Norms::RMS
};

pub(super) const TRTLLM: TrtllmSpec = TrtllmSpec {
    architecture: "Gemma2ForCausalLM",
    divided_embedding: true,
    fields: trtllm_fields,
    lacks: lacks_split_attention_bias,
    ..TrtllmSpec::COMMON
};

/// `layer_types`, else every other layer from the first.
fn every_other_layer(_: &Object, fields: &WindowFields) -> Result<Vec<usize>, BuildError> {
    Ok(fields.listed.clone().unwrap_or_else(|| (0..fields.num_layers).step_by(2).collect()))
}

fn trtllm_fields(model: &Model, final_softcap: Option<f32>) -> Result<Map<String, Value>, BuildError> {
    Ok(object(json!({
        "attn_bias": model.qkv_bias,
        "mlp_bias": false,
        "query_pre_attn_scalar": query_scalar(model),
        ATTENTION_CAP: model.variant.attention_softcap.map_or(Value::Null, number),
        "final_logit_softcapping": final_softcap.map(number),
    })))
}
