//! BERT.

use super::encoders::{self, EncoderHead, EncoderSpec, PositionsSpec};
use super::llama;
use super::spec::*;
use crate::manifest::Norm;

pub(super) const SPEC: FamilySpec = FamilySpec {
    name: "bert",
    title: "BERT",
    architecture: "Bert",
    model_type: "bert",
    defaults: Defaults { max_position_embeddings: 512, vocab_size: Some(30_522), ..Defaults::NONE },
    biases: Biases { qkv: Bias::Present, output: Bias::Present, mlp: Bias::Present },
    rotary: Rotary { partial: Some(0.0), ..Rotary::WHOLE },
    norms: Norms {
        kind: Norm::Layer,
        bias: true,
        eps_field: "layer_norm_eps",
        default_eps: 1e-12,
        inputs: None,
        ..Norms::RMS
    },
    activation: ActivationSpec::GELU,
    tensors: TensorNames {
        embedding: "bert.embeddings.word_embeddings.weight",
        lm_head: "",
        final_norm: "",
        layers: "bert.encoder.layer",
        qkv: Qkv::Separate(["attention.self.query", "attention.self.key", "attention.self.value"]),
        attention_output: "attention.output.dense",
        // There is no gate.
        gate_up: GateUp::Separate(["", "intermediate.dense"]),
        down: "output.dense",
        transposed: false,
    },
    positions: Some(PositionsSpec {
        tensor: "bert.embeddings.position_embeddings.weight",
        unless: None,
        skips_padding: false,
    }),
    encoder: Some(EncoderSpec {
        embedding_norm: "bert.embeddings.LayerNorm",
        sum_norms: Some(SUM_NORMS),
        final_norm: false,
        segments: Some("bert.embeddings.token_type_embeddings.weight"),
        relative: None,
        head: EncoderHead {
            dense: "bert.pooler.dense",
            activation_field: None,
            activation: "tanh",
            norm: None,
            last: "classifier",
            pooling_field: None,
        },
    }),
    trtllm: Err(encoders::NOT_ON_GPUS),
    ..llama::SPEC
};

/// Norms after attention and feed-forward network.
pub(super) const SUM_NORMS: [&str; 2] = ["attention.output.LayerNorm", "output.LayerNorm"];
