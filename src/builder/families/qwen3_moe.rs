//! Qwen3 with mixtures of experts.

use serde_json::{Map, Value};

use super::experts::{ExpertTensors, ExpertsSpec};
use super::qwen2_moe;
use super::qwen3;
use super::spec::*;
use super::trtllm_fields::lacks_for_experts;
use super::windows;
use crate::builder::BuildError;
use crate::manifest::Model;

pub(super) const SPEC: FamilySpec = FamilySpec {
    name: "qwen3_moe",
    title: "Qwen3-MoE",
    architecture: "Qwen3Moe",
    model_type: "qwen3_moe",
    defaults: Defaults { max_position_embeddings: 32768, num_kv_heads: Some(4), ..Defaults::NONE },
    windows: Some(Windows { default_keys: Some(4096), layers: windows::every_layer_if_used }),
    experts: Some(ExpertsSpec {
        count: ("num_experts", 128),
        active: 8,
        width: ("moe_intermediate_size", 768),
        normalized: Some(false),
        shared: None,
        some_layers: true,
        tensors: ExpertTensors::COMMON,
    }),
    trtllm: Ok(TrtllmSpec {
        architecture: "Qwen3MoeForCausalLM",
        fields: trtllm_fields,
        lacks: lacks_for_experts,
        ..TrtllmSpec::COMMON
    }),
    ..qwen3::SPEC
};

fn trtllm_fields(model: &Model, _: Option<f32>) -> Result<Map<String, Value>, BuildError> {
    Ok(qwen2_moe::qwen_moe_fields("qwen3_moe", model))
}
