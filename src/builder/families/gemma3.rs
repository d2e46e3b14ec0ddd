//! Gemma 3, text.

use serde_json::{Map, Value, json};

use super::gemma2;
use super::rope;
use super::spec::*;
use super::trtllm_fields::{lacks_split_attention_bias, number, object, query_scalar, window_period};
use super::windows;
use crate::builder::BuildError;
use crate::builder::json::Object;
use crate::manifest::{Model, QkNorm, RopeScaling};

pub(super) const SPEC: FamilySpec = FamilySpec {
    name: "gemma3",
    title: "Gemma 3",
    architecture: "Gemma3",
    model_type: "gemma3_text",
    defaults: Defaults {
        max_position_embeddings: 131_072,
        head_dim: Some(256),
        num_kv_heads: Some(4),
        vocab_size: Some(262_208),
        num_heads: Some(8),
        tied_embeddings: true,
    },
    biases: Biases { qkv: Bias::If("attention_bias"), output: Bias::If("attention_bias"), mlp: Bias::Absent },
    rotary: Rotary { partial: None, theta: 1_000_000.0, read: rope::read_by_layer, ..Rotary::WHOLE },
    attention: Attention { query_scalar: Some(256.0), softcap: None },
    windows: Some(Windows { default_keys: Some(4096), layers: all_but_every_nth_layer }),
    norms: Norms { queries_and_keys: QkNorm::EachHead, ..gemma2::NORMS },
    activation: ActivationSpec::GELU_TANH,
    scaled_embedding: true,
    final_softcap: Some(Softcap { field: "final_logit_softcapping", default: None }),
    trtllm: Ok(TrtllmSpec {
        architecture: "Gemma3ForCausalLM",
        fields: trtllm_fields,
        lacks,
        ..gemma2::TRTLLM
    }),
    ..FamilySpec::COMMON
};

/// `layer_types`, else all layers but each `sliding_window_pattern`th.
fn all_but_every_nth_layer(config: &Object, fields: &WindowFields) -> Result<Vec<usize>, BuildError> {
    windows::all_but_every_nth(config, fields, 6)
}

fn trtllm_fields(model: &Model, final_softcap: Option<f32>) -> Result<Map<String, Value>, BuildError> {
    let window = model.variant.sliding_window.as_ref();
    let (period, windowed_rope) = match window {
        Some(window) => (window_period(window, model)?, window.rope.as_ref().unwrap_or(&model.rope)),
        None => (1, &model.rope),
    };
    Ok(object(json!({
        "attn_bias": model.qkv_bias,
        "mlp_bias": false,
        "query_pre_attn_scalar": query_scalar(model),
        "final_logit_softcapping": final_softcap.map(number),
        "_sliding_window_pattern": period,
        "rope_local_base_freq": windowed_rope.theta,
        "sliding_window": window.map(|window| window.keys),
    })))
}

fn lacks(model: &Model) -> Option<&'static str> {
    if model.rope.scaling != RopeScaling::Default {
        return Some("rotary scaling of the layers without a window");
    }
    lacks_split_attention_bias(model)
}
