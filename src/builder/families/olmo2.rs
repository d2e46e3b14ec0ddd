//! OLMo 2: norms over the outputs of attention and feed-forward network instead of their inputs, and over the queries
//! and keys of all heads together.

use super::spec::*;
use crate::manifest::QkNorm;

pub(super) const SPEC: FamilySpec = FamilySpec {
    name: "olmo2",
    title: "OLMo 2",
    architecture: "Olmo2",
    model_type: "olmo2",
    defaults: Defaults {
        max_position_embeddings: 2048,
        head_dim: None,
        num_kv_heads: None,
        tied_embeddings: false,
        ..Defaults::NONE
    },
    biases: Biases { qkv: Bias::If("attention_bias"), output: Bias::If("attention_bias"), mlp: Bias::Absent },
    norms: Norms {
        default_eps: 1e-5,
        inputs: None,
        outputs: Some(["post_attention_layernorm", "post_feedforward_layernorm"]),
        queries_and_keys: QkNorm::AllHeads,
        ..Norms::RMS
    },
    ..FamilySpec::COMMON
};
