//! Granite 3: Llama with factors on embedding, attention, residual stream and logits.

use serde_json::{Map, Value, json};

use super::llama;
use super::spec::*;
use super::trtllm_fields::{lacks_split_attention_bias, number, object};
use crate::builder::BuildError;
use crate::manifest::Model;

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
    // These are Llama's classes, too, but they leave the factor on the residual stream out where reductions are fused.
    trtllm: Ok(TrtllmSpec {
        architecture: "GraniteForCausalLM",
        fields: trtllm_fields,
        lacks: lacks_split_attention_bias,
        ..TrtllmSpec::COMMON
    }),
    ..llama::SPEC
};

fn trtllm_fields(model: &Model, softcap: Option<f32>) -> Result<Map<String, Value>, BuildError> {
    // Relative to the usual scale, the inverse root of a head's width.
    let attention = model.variant.attention_scale.map_or(1.0, |scale| scale * (model.head_dim as f32).sqrt());
    let mut fields = llama::trtllm_fields(model, softcap)?;
    fields.extend(object(json!({
        "embedding_multiplier": number(model.variant.embedding_scale),
        "attention_multiplier": number(attention),
        "residual_multiplier": number(model.variant.residual_scale.unwrap_or(1.0)),
        // The rows of the head are multiplied already.
        "output_multiplier_scale": 1.0,
    })));
    Ok(fields)
}
