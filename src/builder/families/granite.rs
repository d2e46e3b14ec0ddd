//! Granite 3: Llama with factors on embedding, attention, residual stream and logits.

use super::llama;
use super::spec::*;

pub(super) const SPEC: FamilySpec = FamilySpec {
    name: "granite",
    title: "Granite",
    architecture: "Granite",
    model_type: "granite",
    multipliers: Multipliers {
        embedding: Some("embedding_multiplier"),
        attention: Some("attention_multiplier"),
        residual: Some("residual_multiplier"),
        logits: Some(LogitScale { field: "logits_scaling", default: 1.0, divides: true }),
    },
    trtllm: None,
    ..llama::SPEC
};
