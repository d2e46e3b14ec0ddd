//! GLM-4 of 2024 (`GlmForCausalLM`).

use super::llama;
use super::spec::*;

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
    trtllm: None,
    ..llama::SPEC
};
