//! `config.json` of a checkpoint for `trtllm-build`. Its fields are those of TensorRT-LLM 1.2.1's
//! `PretrainedConfig` and of the classes that each family derives from it.

use serde_json::{Value, json};

use super::check::{Family, SMALL_HEAD};
use super::lm_head::LmHead;
use super::mapping::Mapping;
use crate::builder::BuildError;
use crate::builder::config::Config;
use crate::builder::families::number;
use crate::builder::families::spec::TrtllmSpec;
use crate::builder::source::Source;
use crate::manifest::{Activation, Model, Quantization, RopeScaling};

/// Modules that are never quantized. Naming any replaces TensorRT-LLM's own list, so this repeats it.
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
/// The pattern of the model's windows cannot be expressed.
pub(super) fn config_json(
    source: &Source,
    family: Family,
    lm_head: &LmHead,
    mapping: Mapping,
    quantization: &Quantization,
) -> Result<Value, BuildError> {
    let Config { model, max_position_embeddings, .. } = &source.config;
    let rotary_dim = model.variant.rotary_dim.unwrap_or(model.head_dim);
    let mut config = json!({
        "architecture": family.trtllm.architecture,
        "dtype": "bfloat16",
        "logits_dtype": "float32",
        "vocab_size": lm_head.vocab_size,
        "hidden_size": model.hidden_size,
        "num_hidden_layers": model.num_layers,
        "num_attention_heads": model.num_heads,
        "num_key_value_heads": model.num_kv_heads,
        "head_size": model.head_dim,
        "intermediate_size": model.intermediate_size,
        "hidden_act": activation(model, family.trtllm),
        "norm_epsilon": number(model.norm_eps),
        "position_embedding_type": family.trtllm.positions,
        "max_position_embeddings": max_position_embeddings,
        "rotary_embedding_dim": rotary_dim,
        "rotary_base": model.rope.theta,
        "rotary_scaling": rotary_scaling(&model.rope.scaling),
        "use_parallel_embedding": divides_embedding(family.trtllm, mapping),
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
        fields.extend((family.trtllm.fields)(model, source.softcap())?);
        if let Some(small_head) = family.trtllm.small_head.as_ref().filter(|_| lm_head.small) {
            fields.extend((small_head.fields)(model, None)?);
            fields.insert("architecture".to_owned(), SMALL_HEAD.into());
            fields.insert("num_labels".to_owned(), lm_head.rows.into());
        }
    }
    Ok(config)
}

/// Whether the ranks of a stage divide the embedding.
pub(super) fn divides_embedding(trtllm: &TrtllmSpec, mapping: Mapping) -> bool {
    trtllm.divided_embedding && mapping.tensor_parallel > 1
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

fn activation(model: &Model, trtllm: &TrtllmSpec) -> &'static str {
    match model.variant.activation {
        Activation::Silu if trtllm.fused_gate || model.variant.experts.is_some() => "swiglu",
        Activation::Silu => "silu",
        Activation::GeluTanh | Activation::PlainGeluTanh => "gelu_pytorch_tanh",
        Activation::Relu2 => "squared-relu",
        Activation::Gelu | Activation::GatedGelu => "gelu",
    }
}

fn rotary_scaling(scaling: &RopeScaling) -> Value {
    match scaling {
        // YaRN was refused earlier, and no text is so long that NTK scaling changes anything. The factors of LongRoPE
        // are among the fields of its family.
        RopeScaling::Default
        | RopeScaling::Unrotated
        | RopeScaling::Yarn { .. }
        | RopeScaling::Dynamic { .. }
        | RopeScaling::LongRope { .. } => Value::Null,
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
