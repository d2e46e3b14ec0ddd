//! OLMoE: a mixture of experts with norms of queries and keys over all heads together.

use super::experts::{ExpertTensors, ExpertsSpec};
use super::llama;
use super::spec::*;
use crate::manifest::QkNorm;

pub(super) const SPEC: FamilySpec = FamilySpec {
    name: "olmoe",
    title: "OLMoE",
    architecture: "Olmoe",
    model_type: "olmoe",
    defaults: Defaults { max_position_embeddings: 4096, ..Defaults::NONE },
    biases: Biases { mlp: Bias::Absent, ..llama::SPEC.biases },
    norms: Norms { default_eps: 1e-5, queries_and_keys: QkNorm::AllHeads, ..Norms::RMS },
    experts: Some(ExpertsSpec {
        count: ("num_experts", 64),
        active: 8,
        width: ("intermediate_size", 2048),
        normalized: Some(false),
        shared: None,
        some_layers: false,
        tensors: ExpertTensors::COMMON,
    }),
    trtllm: Err(TrtllmSpec::NO_CLASS),
    ..llama::SPEC
};
