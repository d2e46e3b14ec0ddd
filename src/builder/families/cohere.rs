//! Command R: attention and feed-forward network read the same layer norm, which has no bias.

use serde_json::{Map, Value, json};

use super::llama;
use super::spec::*;
use super::trtllm_fields::{lacks_split_attention_bias, object};
use crate::builder::BuildError;
use crate::manifest::{Model, Norm, QkNorm, RopeScaling};

pub(super) const SPEC: FamilySpec = FamilySpec {
    name: "cohere",
    title: "Cohere Command",
    architecture: "Cohere",
    model_type: "cohere",
    defaults: Defaults { max_position_embeddings: 8192, tied_embeddings: true, ..Defaults::NONE },
    biases: Biases { mlp: Bias::Absent, ..llama::SPEC.biases },
    rotary: Rotary { interleaved: true, theta: 500_000.0, ..Rotary::WHOLE },
    norms: Norms {
        kind: Norm::Layer,
        eps_field: "layer_norm_eps",
        default_eps: 1e-5,
        inputs: Some(["input_layernorm", "input_layernorm"]),
        queries_and_keys: QkNorm::OwnHead,
        queries_and_keys_if: Some("use_qk_norm"),
        ..Norms::RMS
    },
    parallel_residual: ParallelResidual::Always,
    multipliers: Multipliers {
        logits: Some(LogitScale { field: "logit_scale", default: 0.0625, divides: false }),
        ..Multipliers::NONE
    },
    trtllm: Ok(TrtllmSpec {
        architecture: "CohereForCausalLM",
        divided_embedding: true,
        positions: "rope_gptj",
        mlp_norm: None,
        fields: trtllm_fields,
        lacks,
        ..TrtllmSpec::COMMON
    }),
    ..llama::SPEC
};

fn trtllm_fields(model: &Model, _: Option<f32>) -> Result<Map<String, Value>, BuildError> {
    Ok(object(json!({
        "attn_bias": model.qkv_bias,
        "qk_layernorm": model.variant.qk_norm != QkNorm::None,
        // The rows of the head are multiplied already.
        "output_multiplier_scale": 1.0,
    })))
}

fn lacks(model: &Model) -> Option<&'static str> {
    if !matches!(model.rope.scaling, RopeScaling::Default | RopeScaling::Dynamic { .. }) {
        return Some("rotary scaling");
    }
    lacks_split_attention_bias(model)
}
