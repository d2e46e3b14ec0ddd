//! Nemotron-4 and Minitron.

use serde_json::{Map, Value, json};

use super::spec::*;
use super::trtllm_fields::{THESE_BIASES, object, rotary_fraction};
use crate::builder::BuildError;
use crate::manifest::{Activation, Model, Norm};

pub(super) const SPEC: FamilySpec = FamilySpec {
    name: "nemotron",
    title: "Nemotron",
    architecture: "Nemotron",
    model_type: "nemotron",
    defaults: Defaults {
        max_position_embeddings: 4096,
        head_dim: None,
        num_kv_heads: None,
        tied_embeddings: false,
        ..Defaults::NONE
    },
    biases: Biases {
        qkv: Bias::If("attention_bias"),
        output: Bias::If("attention_bias"),
        mlp: Bias::If("mlp_bias"),
    },
    rotary: Rotary { partial: Some(0.5), ..Rotary::WHOLE },
    norms: Norms {
        kind: Norm::Layer,
        bias: true,
        eps_field: "norm_eps",
        default_eps: 1e-5,
        weight_offset: 1.0,
        ..Norms::RMS
    },
    activation: ActivationSpec { field: "hidden_act", name: "relu2", activation: Activation::Relu2 },
    trtllm: Ok(TrtllmSpec {
        architecture: "NemotronForCausalLM",
        fields: trtllm_fields,
        lacks,
        ..TrtllmSpec::COMMON
    }),
    ..FamilySpec::COMMON
};

fn trtllm_fields(model: &Model, _: Option<f32>) -> Result<Map<String, Value>, BuildError> {
    Ok(object(json!({ "bias": model.qkv_bias, "rotary_pct": rotary_fraction(model) })))
}

fn lacks(model: &Model) -> Option<&'static str> {
    let one_flag = model.qkv_bias == model.output_bias && model.output_bias == model.mlp_bias;
    (!one_flag).then_some(THESE_BIASES)
}
