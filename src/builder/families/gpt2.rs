//! GPT-2.

use serde_json::{Map, Value, json};

use super::encoders::PositionsSpec;
use super::llama;
use super::spec::*;
use super::trtllm_fields::object;
use crate::builder::BuildError;
use crate::manifest::{Activation, Model, Norm};

pub(super) const SPEC: FamilySpec = FamilySpec {
    name: "gpt2",
    title: "GPT-2",
    architecture: "GPT2",
    model_type: "gpt2",
    defaults: Defaults {
        max_position_embeddings: 1024,
        vocab_size: Some(50_257),
        tied_embeddings: true,
        ..Defaults::NONE
    },
    biases: Biases { qkv: Bias::Present, output: Bias::Present, mlp: Bias::Present },
    rotary: Rotary { partial: Some(0.0), ..Rotary::WHOLE },
    norms: Norms {
        kind: Norm::Layer,
        bias: true,
        eps_field: "layer_norm_epsilon",
        default_eps: 1e-5,
        inputs: Some(["ln_1", "ln_2"]),
        ..Norms::RMS
    },
    aliases: &[
        ("n_embd", "hidden_size"),
        ("n_layer", "num_hidden_layers"),
        ("n_head", "num_attention_heads"),
        ("n_inner", "intermediate_size"),
        ("n_positions", "max_position_embeddings"),
    ],
    ignored: &["intermediate_size", "num_key_value_heads", "head_dim"],
    activation: ActivationSpec {
        field: "activation_function",
        name: "gelu_new",
        activation: Activation::PlainGeluTanh,
    },
    tensors: TensorNames {
        embedding: "transformer.wte.weight",
        lm_head: "lm_head.weight",
        final_norm: "transformer.ln_f",
        layers: "transformer.h",
        qkv: Qkv::Fused("attn.c_attn"),
        attention_output: "attn.c_proj",
        // There is no gate.
        gate_up: GateUp::Separate(["", "mlp.c_fc"]),
        down: "mlp.c_proj",
        transposed: true,
    },
    positions: Some(PositionsSpec { tensor: "transformer.wpe.weight", unless: None, skips_padding: false }),
    trtllm: Ok(TrtllmSpec {
        architecture: "GPT2LMHeadModel",
        positions: "learned_absolute",
        fields: trtllm_fields,
        ..TrtllmSpec::COMMON
    }),
    ..llama::SPEC
};

fn trtllm_fields(_: &Model, _: Option<f32>) -> Result<Map<String, Value>, BuildError> {
    Ok(object(json!({ "bias": true })))
}
