//! GLM-4 of 2024 (`GlmForCausalLM`).

use serde_json::{Map, Value, json};

use super::llama;
use super::spec::*;
use super::trtllm_fields::{OTHER_HEAD_WIDTH, THESE_BIASES, has_other_head_width, object, rotary_fraction};
use crate::builder::BuildError;
use crate::manifest::Model;

pub(super) const SPEC: FamilySpec = FamilySpec {
    name: "glm",
    title: "GLM",
    architecture: "Glm",
    model_type: "glm",
    defaults: Defaults {
        max_position_embeddings: 131_072,
        head_dim: Some(128),
        num_kv_heads: Some(2),
        ..Defaults::NONE
    },
    biases: Biases { qkv: Bias::Unless("attention_bias"), ..Biases::NONE },
    rotary: Rotary { partial: Some(0.5), interleaved: true, ..Rotary::WHOLE },
    norms: Norms { default_eps: 1.5625e-7, ..Norms::RMS },
    tensors: TensorNames { gate_up: GateUp::Fused("mlp.gate_up_proj"), ..TensorNames::COMMON },
    trtllm: Ok(TrtllmSpec {
        architecture: "ChatGLMForCausalLM",
        stages: false,
        fused_gate: true,
        positions: "rope_gptj",
        fields: trtllm_fields,
        lacks,
        ..TrtllmSpec::COMMON
    }),
    ..llama::SPEC
};

/// TensorRT-LLM's class is that of ChatGLM 2 and 3, which compute the same.
fn trtllm_fields(model: &Model, _: Option<f32>) -> Result<Map<String, Value>, BuildError> {
    Ok(object(json!({
        "chatglm_version": "glm4",
        "add_bias_linear": false,
        "add_qkv_bias": model.qkv_bias,
        "apply_query_key_layer_scaling": false,
        "apply_residual_connection_post_layernorm": false,
        "rmsnorm": true,
        "rotary_pct": rotary_fraction(model),
    })))
}

fn lacks(model: &Model) -> Option<&'static str> {
    if model.output_bias || model.mlp_bias {
        return Some(THESE_BIASES);
    }
    has_other_head_width(model).then_some(OTHER_HEAD_WIDTH)
}
