//! Qwen2 and Qwen1.5 with mixtures of experts, and a shared expert for every token.

use serde_json::{Map, Value, json};

use super::experts::{ExpertTensors, ExpertsSpec};
use super::qwen2;
use super::spec::*;
use super::trtllm_fields::{lacks_for_experts, moe, object};
use crate::builder::BuildError;
use crate::builder::json::Object;
use crate::manifest::Model;

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
    trtllm: Ok(TrtllmSpec {
        architecture: "Qwen2MoeForCausalLM",
        fields: trtllm_fields,
        lacks: lacks_for_experts,
        ..TrtllmSpec::COMMON
    }),
    ..qwen2::SPEC
};

fn trtllm_fields(model: &Model, _: Option<f32>) -> Result<Map<String, Value>, BuildError> {
    Ok(qwen_moe_fields("qwen2_moe", model))
}

/// The fields of a generation of Qwen's with experts.
pub(super) fn qwen_moe_fields(qwen_type: &str, model: &Model) -> Map<String, Value> {
    let experts = model.variant.experts.as_ref();
    let shared = experts.and_then(|experts| experts.shared.as_ref());
    let mut fields = qwen2::qwen_fields(qwen_type, model);
    fields.extend(object(json!({
        "moe": moe(model),
        "moe_intermediate_size": experts.map_or(0, |experts| experts.intermediate_size),
        "moe_shared_expert_intermediate_size": shared.map_or(0, |shared| shared.intermediate_size),
    })));
    fields
}

/// `layer_types`, else every other of the first `max_window_layers` layers, if `use_sliding_window` is set.
fn every_other_of_the_first(config: &Object, fields: &WindowFields) -> Result<Vec<usize>, BuildError> {
    if let Some(listed) = &fields.listed {
        return Ok(listed.clone());
    }
    let used = config.optional("use_sliding_window")?.unwrap_or(false);
    let end: usize = config.optional("max_window_layers")?.unwrap_or(28);
    Ok(if used { (0..fields.num_layers.min(end)).step_by(2).collect() } else { vec![] })
}
