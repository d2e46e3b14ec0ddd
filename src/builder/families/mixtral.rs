//! Mixtral.

use serde_json::{Map, Value};

use super::experts::{ExpertTensors, ExpertsSpec};
use super::llama;
use super::mistral;
use super::spec::*;
use super::trtllm_fields::{lacks_for_experts, moe};
use super::windows;
use crate::builder::BuildError;
use crate::manifest::Model;

pub(super) const SPEC: FamilySpec = FamilySpec {
    name: "mixtral",
    title: "Mixtral",
    architecture: "Mixtral",
    model_type: "mixtral",
    rotary: Rotary { theta: 1_000_000.0, ..Rotary::WHOLE },
    windows: Some(Windows { default_keys: None, layers: windows::every_layer }),
    norms: Norms { default_eps: 1e-5, ..Norms::RMS },
    experts: Some(ExpertsSpec {
        count: ("num_local_experts", 8),
        active: 2,
        width: ("intermediate_size", 14336),
        normalized: None,
        shared: None,
        some_layers: false,
        tensors: ExpertTensors {
            router: "block_sparse_moe.gate",
            experts: "block_sparse_moe.experts",
            gate_up: ["w1", "w3"],
            down: "w2",
        },
    }),
    trtllm: Ok(TrtllmSpec {
        architecture: "MixtralForCausalLM",
        fields: trtllm_fields,
        lacks: lacks_for_experts,
        ..TrtllmSpec::COMMON
    }),
    ..mistral::SPEC
};

fn trtllm_fields(model: &Model, softcap: Option<f32>) -> Result<Map<String, Value>, BuildError> {
    let mut fields = llama::trtllm_fields(model, softcap)?;
    fields.insert("moe".to_owned(), moe(model));
    Ok(fields)
}
