//! Qwen2 and Qwen2.5.

use serde_json::{Map, Value, json};

use super::spec::*;
use super::trtllm_fields::{THESE_BIASES, object};
use super::windows;
use crate::builder::BuildError;
use crate::manifest::Model;

pub(super) const SPEC: FamilySpec = FamilySpec {
    name: "qwen2",
    title: "Qwen2",
    architecture: "Qwen2",
    model_type: "qwen2",
    defaults: Defaults {
        max_position_embeddings: 32768,
        head_dim: None,
        num_kv_heads: None,
        tied_embeddings: false,
        ..Defaults::NONE
    },
    biases: Biases { qkv: Bias::Present, output: Bias::Absent, mlp: Bias::Absent },
    windows: Some(Windows { default_keys: Some(4096), layers: windows::last_layers }),
    trtllm: Ok(TrtllmSpec {
        architecture: "Qwen2ForCausalLM",
        fp8: true,
        small_head: Some(SmallHead { fields: trtllm_fields, biases: true }),
        fields: trtllm_fields,
        lacks,
        ..TrtllmSpec::COMMON
    }),
    ..FamilySpec::COMMON
};

pub(super) fn trtllm_fields(model: &Model, _: Option<f32>) -> Result<Map<String, Value>, BuildError> {
    Ok(qwen_fields("qwen2", model))
}

/// The fields of a generation of Qwen's.
pub(super) fn qwen_fields(qwen_type: &str, model: &Model) -> Map<String, Value> {
    object(json!({
        "qwen_type": qwen_type,
        "attn_bias": model.qkv_bias,
        "mlp_bias": false,
        "num_labels": 1,
        "seq_length": 8192,
        "use_logn_attn": false,
        "tie_word_embeddings": false,
    }))
}

pub(super) fn lacks(model: &Model) -> Option<&'static str> {
    (model.output_bias || model.mlp_bias).then_some(THESE_BIASES)
}
