//! Command R: attention and feed-forward network read the same layer norm, which has no bias.

use super::llama;
use super::spec::*;
use crate::manifest::Norm;

pub(super) const SPEC: FamilySpec = FamilySpec {
    name: "cohere",
    title: "Cohere Command",
    architecture: "Cohere",
    model_type: "cohere",
    defaults: Defaults { max_position_embeddings: 8192, tied_embeddings: true, ..Defaults::NONE },
    biases: Biases { mlp: Bias::Absent, ..llama::SPEC.biases },
    rotary: Rotary { interleaved: true, theta: 500_000.0, ..Rotary::WHOLE },
    norms: Norms {
        kind: Norm::Layer,
        eps_field: "layer_norm_eps",
        default_eps: 1e-5,
        inputs: Some(["input_layernorm", "input_layernorm"]),
        ..Norms::RMS
    },
    parallel_residual: ParallelResidual::Always,
    multipliers: Multipliers {
        logits: Some(LogitScale { field: "logit_scale", default: 0.0625, divides: false }),
        ..Multipliers::NONE
    },
    trtllm: None,
    ..llama::SPEC
};
