//! Ministral 3: Mistral with YaRN, and queries that grow with their position.

use super::mistral;
use super::spec::*;
use super::windows;

pub(super) const SPEC: FamilySpec = FamilySpec {
    name: "ministral3",
    title: "Ministral 3",
    architecture: "Ministral3",
    model_type: "ministral3",
    defaults: Defaults {
        max_position_embeddings: 262_144,
        head_dim: Some(128),
        num_kv_heads: Some(8),
        ..Defaults::NONE
    },
    norms: Norms { default_eps: 1e-5, ..Norms::RMS },
    rotary: Rotary { theta: 1_000_000.0, query_growth: Some("llama_4_scaling_beta"), ..Rotary::WHOLE },
    windows: Some(Windows { default_keys: None, layers: windows::every_layer }),
    trtllm: Err(TrtllmSpec::NO_CLASS),
    ..mistral::SPEC
};
