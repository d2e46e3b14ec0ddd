//! ModernBERT.

use super::encoders::{self, EncoderHead, EncoderSpec};
use super::spec::*;
use super::{llama, rope};
use crate::builder::BuildError;
use crate::builder::json::Object;
use crate::manifest::{Activation, Norm};

pub(super) const SPEC: FamilySpec = FamilySpec {
    name: "modernbert",
    title: "ModernBERT",
    architecture: "ModernBert",
    model_type: "modernbert",
    defaults: Defaults { max_position_embeddings: 8192, vocab_size: Some(50_368), ..Defaults::NONE },
    biases: Biases {
        qkv: Bias::If("attention_bias"),
        output: Bias::If("attention_bias"),
        mlp: Bias::If("mlp_bias"),
    },
    rotary: Rotary { theta: 160_000.0, read: rope::read_by_layer, ..Rotary::WHOLE },
    windows: Some(Windows { default_keys: Some(128), layers: all_but_every_nth_layer }),
    norms: Norms {
        kind: Norm::Layer,
        bias: false,
        eps_field: "norm_eps",
        default_eps: 1e-5,
        inputs: Some(["attn_norm", "mlp_norm"]),
        ..Norms::RMS
    },
    aliases: &[
        ("global_rope_theta", "rope_theta"),
        ("local_rope_theta", "rope_local_base_freq"),
        ("local_attention", "sliding_window"),
    ],
    activation: ActivationSpec {
        field: "hidden_activation",
        name: "gelu",
        activation: Activation::GatedGelu,
    },
    tensors: TensorNames {
        embedding: "model.embeddings.tok_embeddings.weight",
        lm_head: "",
        final_norm: "model.final_norm",
        layers: "model.layers",
        qkv: Qkv::Fused("attn.Wqkv"),
        attention_output: "attn.Wo",
        gate_up: GateUp::Fused("mlp.Wi"),
        down: "mlp.Wo",
        transposed: false,
    },
    encoder: Some(EncoderSpec {
        embedding_norm: "model.embeddings.norm",
        sum_norms: None,
        final_norm: true,
        segments: None,
        relative: None,
        head: EncoderHead {
            dense: "head.dense",
            activation_field: Some("classifier_activation"),
            activation: "gelu",
            norm: Some("head.norm"),
            last: "classifier",
            pooling_field: Some("classifier_pooling"),
        },
    }),
    trtllm: Err(encoders::NOT_ON_GPUS),
    ..llama::SPEC
};

/// `layer_types`, else all layers but each `global_attn_every_n_layers`th, from the first on.
fn all_but_every_nth_layer(config: &Object, fields: &WindowFields) -> Result<Vec<usize>, BuildError> {
    let period = config.size("global_attn_every_n_layers", Some(3))?;
    let windowed = |layer: &usize| !layer.is_multiple_of(period);
    Ok(fields.listed.clone().unwrap_or_else(|| (0..fields.num_layers).filter(windowed).collect()))
}
