//! RoBERTa.

use super::bert;
use super::encoders::{EncoderHead, EncoderSpec, PositionsSpec};
use super::spec::*;

pub(super) const SPEC: FamilySpec = FamilySpec {
    name: "roberta",
    title: "RoBERTa",
    architecture: "Roberta",
    model_type: "roberta",
    tensors: TensorNames {
        embedding: "roberta.embeddings.word_embeddings.weight",
        layers: "roberta.encoder.layer",
        ..bert::SPEC.tensors
    },
    positions: Some(PositionsSpec {
        tensor: "roberta.embeddings.position_embeddings.weight",
        unless: None,
        skips_padding: true,
    }),
    encoder: Some(EncoderSpec {
        embedding_norm: "roberta.embeddings.LayerNorm",
        sum_norms: Some(bert::SUM_NORMS),
        final_norm: false,
        segments: Some("roberta.embeddings.token_type_embeddings.weight"),
        relative: None,
        head: EncoderHead {
            dense: "classifier.dense",
            activation_field: None,
            activation: "tanh",
            norm: None,
            last: "classifier.out_proj",
            pooling_field: None,
        },
    }),
    ..bert::SPEC
};
