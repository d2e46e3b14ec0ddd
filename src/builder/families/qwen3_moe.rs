//! Qwen3 with mixtures of experts.

use super::experts::{ExpertTensors, ExpertsSpec};
use super::qwen3;
use super::spec::*;
use super::windows;

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
    trtllm: None,
    ..qwen3::SPEC
};
