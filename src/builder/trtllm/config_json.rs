//! `config.json` of a checkpoint for `trtllm-build`: names and meanings are those of TensorRT-LLM 1.2.1's
//! `PretrainedConfig` and of what each family derives from it.

use serde_json::{Map, Value, json};

use super::families::{SMALL_HEAD, architecture, is_llama};
use super::head::LmHead;
use super::mapping::Mapping;
use crate::builder::BuildError;
use crate::builder::config::Config;
use crate::builder::source::Source;
use crate::manifest::{Activation, Family, Model, Quantization, RopeScaling, SlidingWindow};

/// Modules that are never quantized. Naming any replaces TensorRT-LLM's own list, so its are among them.
const EXCLUDED: [&str; 7] = [
    "*lm_head",
    "*router",
    "*vocab_embedding",
    "*position_embedding",
    "*block_embedding",
    "*ln_f",
    "*ln_embed",
];

/// The whole configuration.
///
/// # Errors
/// The model's windows follow no pattern that can be written down.
pub(super) fn config_json(
    source: &Source,
    lm_head: &LmHead,
    mapping: Mapping,
    quantization: &Quantization,
) -> Result<Value, BuildError> {
    let Config { model, max_position_embeddings, .. } = &source.config;
    let rotary_dim = model.variant.rotary_dim.unwrap_or(model.head_dim);
    let mut config = json!({
        "architecture": architecture(model.family),
        "dtype": "bfloat16",
        "logits_dtype": "float32",
        "vocab_size": model.vocab_size,
        "hidden_size": model.hidden_size,
        "num_hidden_layers": model.num_layers,
        "num_attention_heads": model.num_heads,
        "num_key_value_heads": model.num_kv_heads,
        "head_size": model.head_dim,
        "intermediate_size": model.intermediate_size,
        "hidden_act": activation(model),
        "norm_epsilon": number(model.norm_eps),
        "position_embedding_type": "rope_gpt_neox",
        "max_position_embeddings": max_position_embeddings,
        "rotary_embedding_dim": rotary_dim,
        "rotary_base": model.rope.theta,
        "rotary_scaling": rotary_scaling(&model.rope.scaling),
        "use_parallel_embedding": shares_embedding(model.family, mapping),
        "embedding_sharding_dim": 0,
        "mapping": {
            "world_size": mapping.ranks(),
            "tp_size": mapping.tensor_parallel,
            "pp_size": mapping.pipeline_parallel,
        },
        "quantization": {
            "quant_algo": algorithm(quantization),
            "kv_cache_quant_algo": null,
            "exclude_modules": EXCLUDED,
        },
    });
    if let Value::Object(fields) = &mut config {
        fields.extend(of_family(model, source.softcap())?);
        if lm_head.small {
            fields.extend(of_small_head(model, lm_head.rows)?);
        }
    }
    Ok(config)
}

/// Fields of the model that has a head of as many rows as wanted: layers as Qwen's are.
fn of_small_head(model: &Model, rows: usize) -> Result<Map<String, Value>, BuildError> {
    let family = if is_llama(model.family) { Family::Qwen2 } else { model.family };
    let mut fields = of_family(&Model { family, ..model.clone() }, None)?;
    fields.extend([("architecture".to_owned(), SMALL_HEAD.into()), ("num_labels".to_owned(), rows.into())]);
    Ok(fields)
}

/// Whether the embedding is divided among the ranks of a stage: TensorRT-LLM's Gemma always does.
pub(super) fn shares_embedding(family: Family, mapping: Mapping) -> bool {
    matches!(family, Family::Gemma2 | Family::Gemma3) && mapping.tensor_parallel > 1
}

fn algorithm(quantization: &Quantization) -> Value {
    match quantization {
        Quantization::None => Value::Null,
        Quantization::Fp8 => "FP8_PER_CHANNEL_PER_TOKEN".into(),
        Quantization::Int8WeightOnly => "W8A16".into(),
        Quantization::Int4WeightOnly => "W4A16".into(),
        Quantization::Checkpoint(algorithm) => algorithm.as_str().into(),
    }
}

fn activation(model: &Model) -> &'static str {
    match (model.variant.activation, model.family) {
        // Gate and projection in one matrix.
        (Activation::Silu, Family::Phi3) => "swiglu",
        (Activation::Silu, _) => "silu",
        (Activation::GeluTanh, _) => "gelu_pytorch_tanh",
        (Activation::Relu2, _) => "squared-relu",
    }
}

/// As short as it is exact: 1e-5, not what it becomes as a double.
fn number(value: f32) -> Value {
    value.to_string().parse::<f64>().map_or(Value::Null, Value::from)
}

fn rotary_scaling(scaling: &RopeScaling) -> Value {
    match scaling {
        // YaRN is refused before.
        RopeScaling::Default | RopeScaling::Yarn { .. } => Value::Null,
        RopeScaling::Linear { factor } => json!({ "type": "linear", "factor": factor }),
        RopeScaling::Llama3 {
            factor,
            low_freq_factor,
            high_freq_factor,
            original_max_position_embeddings,
        } => json!({
            "type": "llama3",
            "rope_type": "llama3",
            "factor": factor,
            "low_freq_factor": low_freq_factor,
            "high_freq_factor": high_freq_factor,
            "original_max_position_embeddings": original_max_position_embeddings,
        }),
    }
}

/// Fields that only some families have.
fn of_family(model: &Model, softcap: Option<f32>) -> Result<Map<String, Value>, BuildError> {
    let rotary_pct = |dim: usize| dim as f64 / model.head_dim as f64;
    let fields = match model.family {
        Family::Llama | Family::Mistral | Family::InternLm2 => {
            json!({ "attn_bias": model.qkv_bias, "mlp_bias": model.mlp_bias })
        }
        Family::Qwen2 | Family::Qwen3 => json!({
            "qwen_type": if model.family == Family::Qwen2 { "qwen2" } else { "qwen3" },
            "attn_bias": model.qkv_bias,
            "mlp_bias": false,
            "num_labels": 1,
            "seq_length": 8192,
            "use_logn_attn": false,
            "tie_word_embeddings": false,
        }),
        Family::Nemotron => json!({
            "bias": model.qkv_bias,
            "rotary_pct": rotary_pct(model.variant.rotary_dim.unwrap_or(model.head_dim)),
        }),
        Family::Phi3 => json!({
            "rotary_pct": rotary_pct(model.variant.rotary_dim.unwrap_or(model.head_dim)),
            "tie_word_embeddings": false,
        }),
        Family::Gemma2 => json!({
            "attn_bias": model.qkv_bias,
            "mlp_bias": false,
            "query_pre_attn_scalar": pre_attention_scalar(model),
            "attn_logit_softcapping": model.variant.attention_softcap.map_or(Value::Null, number),
            "final_logit_softcapping": softcap.map(number),
        }),
        Family::Gemma3 => {
            let window = model.variant.sliding_window.as_ref();
            let (pattern, local) = match window {
                Some(window) => (pattern(window, model)?, window.rope.as_ref().unwrap_or(&model.rope)),
                None => (1, &model.rope),
            };
            json!({
                "attn_bias": model.qkv_bias,
                "mlp_bias": false,
                "query_pre_attn_scalar": pre_attention_scalar(model),
                "final_logit_softcapping": softcap.map(number),
                "_sliding_window_pattern": pattern,
                "rope_local_base_freq": local.theta,
                "sliding_window": window.map(|window| window.keys),
            })
        }
    };
    match fields {
        Value::Object(fields) => Ok(fields),
        _ => Ok(Map::new()),
    }
}

/// What the checkpoint has of the attention's scale: an integer in every published model.
fn pre_attention_scalar(model: &Model) -> Value {
    let scale = f64::from(model.variant.attention_scale.unwrap_or(1.0));
    let scalar = 1.0 / (scale * scale);
    match (scalar - scalar.round()).abs() < 1e-3 {
        true => Value::from(scalar.round() as u64),
        false => Value::from(scalar),
    }
}

/// The number of which every multiple is a layer without a window, counted from 1.
fn pattern(window: &SlidingWindow, model: &Model) -> Result<usize, BuildError> {
    let full = (0..model.num_layers).find(|layer| !window.layers.contains(layer));
    let pattern = full.unwrap_or(model.num_layers) + 1;
    let expected = (0..model.num_layers).filter(|layer| !(layer + 1).is_multiple_of(pattern));
    match expected.eq(window.layers.iter().copied()) {
        true => Ok(pattern),
        false => Err(BuildError::Option(format!(
            "{}: its layers with a window follow no regular pattern, which TensorRT-LLM's Gemma 3 needs; build it \
             for --target cpu",
            model.name
        ))),
    }
}
