//! GPT-NeoX and Pythia.

use super::llama;
use super::spec::*;
use crate::manifest::Norm;

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
    trtllm: None,
    ..llama::SPEC
};
