//! Mistral.

use super::llama;
use super::spec::*;
use super::windows;

pub(super) const SPEC: FamilySpec = FamilySpec {
    name: "mistral",
    title: "Mistral",
    architecture: "Mistral",
    model_type: "mistral",
    defaults: Defaults {
        max_position_embeddings: 131_072,
        head_dim: None,
        num_kv_heads: Some(8),
        tied_embeddings: false,
        ..Defaults::NONE
    },
    windows: Some(Windows { default_keys: Some(4096), layers: windows::every_layer }),
    trtllm: Ok(TrtllmSpec { exported_as: Some("MistralForCausalLM"), ..llama::TRTLLM }),
    ..FamilySpec::COMMON
};
