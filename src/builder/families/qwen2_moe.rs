//! Qwen2 and Qwen1.5 with mixtures of experts, one of which every token has.

use super::experts::{ExpertTensors, ExpertsSpec};
use super::qwen2;
use super::spec::*;
use crate::builder::BuildError;
use crate::builder::json::Object;

pub(super) const SPEC: FamilySpec = FamilySpec {
    name: "qwen2_moe",
    title: "Qwen2-MoE",
    architecture: "Qwen2Moe",
    model_type: "qwen2_moe",
    defaults: Defaults { max_position_embeddings: 32768, num_kv_heads: Some(16), ..Defaults::NONE },
    biases: Biases { qkv: Bias::Unless("qkv_bias"), ..qwen2::SPEC.biases },
    windows: Some(Windows { default_keys: Some(4096), layers: every_other_of_the_first }),
    experts: Some(ExpertsSpec {
        count: ("num_experts", 60),
        active: 4,
        width: ("moe_intermediate_size", 1408),
        normalized: Some(false),
        shared: Some(("shared_expert_intermediate_size", 5632)),
        some_layers: true,
        tensors: ExpertTensors::COMMON,
    }),
    trtllm: None,
    ..qwen2::SPEC
};

/// `layer_types`, else every other of the first `max_window_layers` layers, if `use_sliding_window` is set.
fn every_other_of_the_first(config: &Object, fields: &WindowFields) -> Result<Vec<usize>, BuildError> {
    if let Some(listed) = &fields.listed {
        return Ok(listed.clone());
    }
    let used = config.optional("use_sliding_window")?.unwrap_or(false);
    let end: usize = config.optional("max_window_layers")?.unwrap_or(28);
    Ok(if used { (0..fields.num_layers.min(end)).step_by(2).collect() } else { vec![] })
}
