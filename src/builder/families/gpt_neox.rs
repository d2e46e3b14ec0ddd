//! GPT-NeoX and Pythia.

use serde_json::{Map, Value, json};

use super::llama;
use super::spec::*;
use super::trtllm_fields::{THESE_BIASES, object, rotary_fraction};
use crate::builder::BuildError;
use crate::manifest::{Model, Norm, RopeScaling};

/// Epsilon of the norms in TensorRT-LLM's class, which reads none.
const TRTLLM_EPS: f32 = 1e-5;

pub(super) const SPEC: FamilySpec = FamilySpec {
    name: "gpt_neox",
    title: "GPT-NeoX",
    architecture: "GPTNeoX",
    model_type: "gpt_neox",
    biases: Biases {
        qkv: Bias::Unless("attention_bias"),
        output: Bias::Unless("attention_bias"),
        mlp: Bias::Present,
    },
    rotary: Rotary { partial: Some(0.25), ..Rotary::WHOLE },
    norms: Norms {
        kind: Norm::Layer,
        bias: true,
        eps_field: "layer_norm_eps",
        default_eps: 1e-5,
        ..Norms::RMS
    },
    parallel_residual: ParallelResidual::Unless("use_parallel_residual"),
    aliases: &[("rotary_emb_base", "rope_theta"), ("rotary_pct", "partial_rotary_factor")],
    ignored: &["num_key_value_heads", "head_dim"],
    activation: ActivationSpec::GELU,
    tensors: TensorNames {
        embedding: "gpt_neox.embed_in.weight",
        lm_head: "embed_out.weight",
        final_norm: "gpt_neox.final_layer_norm",
        layers: "gpt_neox.layers",
        qkv: Qkv::FusedByKvHead("attention.query_key_value"),
        attention_output: "attention.dense",
        // There is no gate.
        gate_up: GateUp::Separate(["", "mlp.dense_h_to_4h"]),
        down: "mlp.dense_4h_to_h",
        transposed: false,
    },
    trtllm: Ok(TrtllmSpec {
        architecture: "GPTNeoXForCausalLM",
        stages: false,
        mlp_norm: Some("post_attention_layernorm"),
        fields: trtllm_fields,
        lacks,
        ..TrtllmSpec::COMMON
    }),
    ..llama::SPEC
};

fn trtllm_fields(model: &Model, _: Option<f32>) -> Result<Map<String, Value>, BuildError> {
    Ok(object(json!({ "rotary_pct": rotary_fraction(model), "rotary_emb_base": model.rope.theta })))
}

/// TensorRT-LLM's class takes much for granted that other classes read from their configuration.
fn lacks(model: &Model) -> Option<&'static str> {
    if !model.variant.parallel_residual {
        return Some("feed-forward network after the attention (use_parallel_residual is false)");
    }
    if !(model.qkv_bias && model.output_bias) {
        return Some("attention without biases");
    }
    if model.intermediate_size != 4 * model.hidden_size {
        return Some("feed-forward network of another width than four times hidden_size");
    }
    if model.norm_eps != TRTLLM_EPS {
        return Some("epsilon of the norms other than 1e-5");
    }
    if !matches!(model.rope.scaling, RopeScaling::Default | RopeScaling::Dynamic { .. }) {
        return Some("rotary scaling");
    }
    (!model.mlp_bias).then_some(THESE_BIASES)
}
