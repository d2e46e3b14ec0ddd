//! Llama 2, 3 and 3.x.

use serde_json::{Map, Value, json};

use super::qwen2;
use super::spec::*;
use super::trtllm_fields::{lacks_split_attention_bias, object};
use crate::builder::BuildError;
use crate::manifest::Model;

pub(super) const SPEC: FamilySpec = FamilySpec {
    name: "llama",
    title: "Llama",
    architecture: "Llama",
    model_type: "llama",
    defaults: Defaults {
        max_position_embeddings: 2048,
        head_dim: None,
        num_kv_heads: None,
        tied_embeddings: false,
        ..Defaults::NONE
    },
    biases: Biases {
        qkv: Bias::If("attention_bias"),
        output: Bias::If("attention_bias"),
        mlp: Bias::If("mlp_bias"),
    },
    trtllm: Ok(TRTLLM),
    ..FamilySpec::COMMON
};

/// The form of every family whose layers TensorRT-LLM builds from Llama's classes.
pub(super) const TRTLLM: TrtllmSpec = TrtllmSpec {
    architecture: "LlamaForCausalLM",
    llama_classes: true,
    fp8: true,
    small_head: Some(SmallHead { fields: qwen2::trtllm_fields, biases: false }),
    fields: trtllm_fields,
    lacks: lacks_split_attention_bias,
    ..TrtllmSpec::COMMON
};

pub(super) fn trtllm_fields(model: &Model, _: Option<f32>) -> Result<Map<String, Value>, BuildError> {
    Ok(object(json!({ "attn_bias": model.qkv_bias, "mlp_bias": model.mlp_bias })))
}
