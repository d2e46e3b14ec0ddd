//! Qwen3.

use serde_json::{Map, Value};

use super::qwen2;
use super::spec::*;
use super::windows;
use crate::builder::BuildError;
use crate::manifest::{Model, QkNorm};

pub(super) const SPEC: FamilySpec = FamilySpec {
    name: "qwen3",
    title: "Qwen3",
    architecture: "Qwen3",
    model_type: "qwen3",
    defaults: Defaults {
        max_position_embeddings: 32768,
        head_dim: Some(128),
        num_kv_heads: Some(32),
        tied_embeddings: false,
        ..Defaults::NONE
    },
    biases: Biases { qkv: Bias::If("attention_bias"), output: Bias::If("attention_bias"), mlp: Bias::Absent },
    windows: Some(Windows { default_keys: Some(4096), layers: windows::last_layers }),
    norms: Norms { queries_and_keys: QkNorm::EachHead, ..Norms::RMS },
    trtllm: Ok(TrtllmSpec {
        architecture: "Qwen3ForCausalLM",
        small_head: Some(SmallHead { fields: trtllm_fields, biases: true }),
        fields: trtllm_fields,
        lacks: qwen2::lacks,
        ..TrtllmSpec::COMMON
    }),
    ..FamilySpec::COMMON
};

fn trtllm_fields(model: &Model, _: Option<f32>) -> Result<Map<String, Value>, BuildError> {
    Ok(qwen2::qwen_fields("qwen3", model))
}
