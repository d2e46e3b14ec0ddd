//! DeBERTa-v2 and v3.

use super::bert;
use super::encoders::{EncoderHead, EncoderSpec, PositionsSpec, RelativeSpec};
use super::spec::*;

pub(super) const SPEC: FamilySpec = FamilySpec {
    name: "deberta_v2",
    title: "DeBERTa-v2",
    architecture: "DebertaV2",
    model_type: "deberta-v2",
    defaults: Defaults { max_position_embeddings: 512, vocab_size: Some(128_100), ..Defaults::NONE },
    norms: Norms { default_eps: 1e-7, ..bert::SPEC.norms },
    tensors: TensorNames {
        embedding: "deberta.embeddings.word_embeddings.weight",
        layers: "deberta.encoder.layer",
        qkv: Qkv::Separate([
            "attention.self.query_proj",
            "attention.self.key_proj",
            "attention.self.value_proj",
        ]),
        ..bert::SPEC.tensors
    },
    positions: Some(PositionsSpec {
        tensor: "deberta.embeddings.position_embeddings.weight",
        unless: Some("position_biased_input"),
        skips_padding: false,
    }),
    encoder: Some(EncoderSpec {
        embedding_norm: "deberta.embeddings.LayerNorm",
        sum_norms: Some(bert::SUM_NORMS),
        final_norm: false,
        segments: Some("deberta.embeddings.token_type_embeddings.weight"),
        relative: Some(RelativeSpec {
            embedding: "deberta.encoder.rel_embeddings.weight",
            norm: "deberta.encoder.LayerNorm",
            projections: ["attention.self.pos_query_proj", "attention.self.pos_key_proj"],
        }),
        head: EncoderHead {
            dense: "pooler.dense",
            activation_field: Some("pooler_hidden_act"),
            activation: "gelu",
            norm: None,
            last: "classifier",
            pooling_field: None,
        },
    }),
    ..bert::SPEC
};
