//! Mistral.

use super::llama;
use super::spec::*;
use super::windows;

pub(super) const SPEC: FamilySpec = FamilySpec {
    name: "mistral",
    title: "Mistral",
    architecture: "Mistral",
    model_type: "mistral",
    in_transformers: true,
    defaults: Defaults {
        max_position_embeddings: 131_072,
        head_dim: None,
        num_kv_heads: Some(8),
        tied_embeddings: false,
        ..Defaults::NONE
    },
    biases: Biases::NONE,
    rotary: Rotary::WHOLE,
    attention: Attention::PLAIN,
    windows: Some(Windows { default_keys: Some(4096), layers: windows::every_layer }),
    norms: Norms::RMS,
    experts: None,
    parallel_residual: ParallelResidual::Never,
    multipliers: Multipliers::NONE,
    aliases: &[],
    activation: ActivationSpec::SILU,
    scaled_embedding: false,
    final_softcap: None,
    tensors: TensorNames::COMMON,
    positions: None,
    encoder: None,
    trtllm: Some(TrtllmForm { exported_as: Some("MistralForCausalLM"), ..llama::TRTLLM }),
};
