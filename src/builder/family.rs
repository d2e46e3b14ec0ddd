//! What sets the families of decoders apart, as `config.json` tells it.
//!
//! Fields and their defaults are those of transformers' configurations of each family; of InternLM2,
//! those of its published one.

use super::BuildError;
use super::config::size;
use super::json::Object;
use super::rope;
use crate::manifest::{Activation, Family, Norm, Rope, SlidingWindow, Variant};

/// Families by the beginning of the architecture's name, with the `model_type` that goes with it.
const FAMILIES: [(&str, &str, Family); 9] = [
    ("Llama", "llama", Family::Llama),
    ("Mistral", "mistral", Family::Mistral),
    ("Qwen2", "qwen2", Family::Qwen2),
    ("Qwen3", "qwen3", Family::Qwen3),
    ("Gemma2", "gemma2", Family::Gemma2),
    ("Gemma3Text", "gemma3_text", Family::Gemma3),
    ("Nemotron", "nemotron", Family::Nemotron),
    ("InternLM2", "internlm2", Family::InternLm2),
    ("Phi3", "phi3", Family::Phi3),
];

/// Beginnings of the names of the architectures that can be built.
pub(super) fn names() -> String {
    FAMILIES.map(|(name, _, _)| name).join(", ")
}

/// The family of an architecture (`Qwen3ForSequenceClassification`) and what follows its name there.
///
/// # Errors
/// `model_type` speaks of another family.
pub(super) fn of<'a>(
    config: &Object,
    architecture: &'a str,
) -> Result<Option<(Family, &'a str)>, BuildError> {
    let model_type: Option<String> = config.optional("model_type")?;
    let named = FAMILIES.iter().find_map(|(name, kind, family)| {
        let rest = architecture.strip_prefix(name)?;
        (rest.is_empty() || rest.starts_with("For") || rest == "Model").then_some((kind, *family, rest))
    });
    match (named, model_type) {
        (Some((kind, _, _)), Some(other)) if other != *kind => {
            let reason = format!("{other} does not go with the architecture {architecture}, which is {kind}");
            Err(config.error("model_type", &reason))
        }
        (Some((_, family, rest)), _) => Ok(Some((family, rest))),
        // Training code calls its classes as it likes.
        (None, Some(kind)) if !architecture.contains("For") => {
            let family = FAMILIES.iter().find(|(_, known, _)| *known == kind).map(|(_, _, family)| *family);
            Ok(family.map(|family| (family, architecture)))
        }
        (None, _) => Ok(None),
    }
}

/// What a family's configuration has by default.
pub(super) struct Defaults {
    pub(super) max_position_embeddings: usize,
    /// The width divided by the heads, if none is given.
    pub(super) head_dim: Option<usize>,
    /// As many as query heads, if none is given.
    pub(super) num_kv_heads: Option<usize>,
    pub(super) norm_eps: (&'static str, f32),
}

pub(super) fn defaults(family: Family) -> Defaults {
    let (max_position_embeddings, head_dim, num_kv_heads) = match family {
        Family::Llama | Family::InternLm2 => (2048, None, None),
        Family::Qwen2 => (32768, None, None),
        Family::Qwen3 => (32768, Some(128), Some(32)),
        Family::Mistral => (131_072, None, Some(8)),
        Family::Gemma2 => (8192, Some(256), Some(4)),
        Family::Gemma3 => (131_072, Some(256), Some(4)),
        Family::Nemotron | Family::Phi3 => (4096, None, None),
    };
    let norm_eps = match family {
        Family::Nemotron => ("norm_eps", 1e-5),
        Family::Phi3 => ("rms_norm_eps", 1e-5),
        _ => ("rms_norm_eps", 1e-6),
    };
    Defaults { max_position_embeddings, head_dim, num_kv_heads, norm_eps }
}

/// Whether query, key and value projections, the attention's output and the feed-forward network have
/// biases.
pub(super) fn biases(config: &Object, family: Family) -> Result<(bool, bool, bool), BuildError> {
    let flag = |field| Ok::<bool, BuildError>(config.optional(field)?.unwrap_or(false));
    Ok(match family {
        Family::Llama | Family::Nemotron => {
            let attention = flag("attention_bias")?;
            (attention, attention, flag("mlp_bias")?)
        }
        Family::Qwen3 | Family::Gemma2 | Family::Gemma3 => {
            let attention = flag("attention_bias")?;
            (attention, attention, false)
        }
        Family::Qwen2 => (true, false, false),
        Family::InternLm2 => {
            let bias = flag("bias")?;
            (bias, bias, false)
        }
        Family::Mistral | Family::Phi3 => (false, false, false),
    })
}

/// The rotary embedding, that of layers with a window where it is another, and the rotated width.
pub(super) fn ropes(
    config: &Object,
    family: Family,
    max_position_embeddings: usize,
    head_dim: usize,
) -> Result<(Rope, Option<Rope>, Option<usize>), BuildError> {
    let by_default = if family == Family::Nemotron { 0.5 } else { 1.0 };
    let factor = rope::partial_factor(config)?.unwrap_or(by_default);
    let partial = matches!(family, Family::Nemotron | Family::Phi3);
    let rotary_dim = (head_dim as f64 * factor) as usize;
    if factor != 1.0
        && !(partial && rotary_dim >= 2 && rotary_dim <= head_dim && rotary_dim.is_multiple_of(2))
    {
        let reason = format!("{factor} is not supported for this family and heads of {head_dim}");
        return Err(config.error("partial_rotary_factor", &reason));
    }
    let rotary_dim = (factor != 1.0).then_some(rotary_dim);
    if family == Family::Gemma3 {
        let (rope, local) = rope::read_by_layer(config, max_position_embeddings)?;
        return Ok((rope, Some(local), rotary_dim));
    }
    let dynamic = family == Family::InternLm2;
    Ok((rope::read(config, max_position_embeddings, dynamic)?, None, rotary_dim))
}

/// What sets the decoder apart from Llama's, its rotary embedding aside.
pub(super) fn variant(
    config: &Object,
    family: Family,
    hidden_size: usize,
    num_layers: usize,
) -> Result<Variant, BuildError> {
    if config.optional("use_bidirectional_attention")?.unwrap_or(false) {
        return Err(config.error("use_bidirectional_attention", "only causal attention is supported"));
    }
    let gemma = matches!(family, Family::Gemma2 | Family::Gemma3);
    let attention_scale = match gemma {
        true => {
            let scalar: f32 = config.optional("query_pre_attn_scalar")?.unwrap_or(256.0);
            Some(positive(config, "query_pre_attn_scalar", scalar)?.powf(-0.5))
        }
        false => None,
    };
    let attention_softcap = match family {
        Family::Gemma2 if !config.has("attn_logit_softcapping") => Some(50.0),
        Family::Gemma2 | Family::Gemma3 => config.optional("attn_logit_softcapping")?,
        _ => None,
    };
    if let Some(cap) = attention_softcap {
        positive(config, "attn_logit_softcapping", cap)?;
    }
    Ok(Variant {
        norm: if family == Family::Nemotron { Norm::Layer } else { Norm::Rms },
        qk_norm: matches!(family, Family::Qwen3 | Family::Gemma3),
        post_norms: gemma,
        activation: activation(config, family)?,
        embedding_scale: if gemma { (hidden_size as f32).sqrt() } else { 1.0 },
        attention_scale,
        attention_softcap,
        rotary_dim: None,
        sliding_window: sliding_window(config, family, num_layers)?,
    })
}

fn positive(config: &Object, field: &str, value: f32) -> Result<f32, BuildError> {
    match value > 0.0 && value.is_finite() {
        true => Ok(value),
        false => Err(config.error(field, &format!("{value} is not above 0"))),
    }
}

fn activation(config: &Object, family: Family) -> Result<Activation, BuildError> {
    let (fields, name, activation): (&[&str], _, _) = match family {
        Family::Gemma2 | Family::Gemma3 => {
            (&["hidden_activation", "hidden_act"], "gelu_pytorch_tanh", Activation::GeluTanh)
        }
        Family::Nemotron => (&["hidden_act"], "relu2", Activation::Relu2),
        _ => (&["hidden_act"], "silu", Activation::Silu),
    };
    for field in fields {
        match config.optional::<String>(field)? {
            Some(other) if other != name => {
                let reason = format!("the activation {other} is not supported; this family uses {name}");
                return Err(config.error(field, &reason));
            }
            Some(_) => break,
            None => {}
        }
    }
    Ok(activation)
}

/// Which layers see the newest keys only, and how many.
fn sliding_window(
    config: &Object,
    family: Family,
    num_layers: usize,
) -> Result<Option<SlidingWindow>, BuildError> {
    let by_default = match family {
        Family::Mistral | Family::Gemma2 | Family::Gemma3 | Family::Qwen2 | Family::Qwen3
            if !config.has("sliding_window") =>
        {
            Some(4096)
        }
        _ => None,
    };
    let keys = match config.optional::<usize>("sliding_window")?.or(by_default) {
        Some(0) => return Err(config.error("sliding_window", "0 is not a number of tokens")),
        keys => keys,
    };
    let listed = layer_types(config, num_layers)?;
    let all = || (0..num_layers).collect::<Vec<_>>();
    let layers = match family {
        Family::Mistral | Family::Phi3 if keys.is_some() => all(),
        Family::Qwen2 | Family::Qwen3 if config.optional("use_sliding_window")?.unwrap_or(false) => {
            let first = config.optional("max_window_layers")?.unwrap_or(28);
            listed.unwrap_or_else(|| (first..num_layers).collect())
        }
        Family::Gemma2 => listed.unwrap_or_else(|| (0..num_layers).step_by(2).collect()),
        Family::Gemma3 => {
            let period = size(config, "sliding_window_pattern", Some(6))?;
            let local = |layer: &usize| !(layer + 1).is_multiple_of(period);
            listed.unwrap_or_else(|| (0..num_layers).filter(local).collect())
        }
        // These have none, whatever their configuration says of it.
        _ => match listed {
            Some(layers) if !layers.is_empty() => {
                let reason = "sliding_attention is not supported here; every layer must have full_attention";
                return Err(config.error("layer_types", reason));
            }
            _ => vec![],
        },
    };
    match keys {
        Some(keys) if !layers.is_empty() => Ok(Some(SlidingWindow { keys, layers, rope: None })),
        None if !layers.is_empty() => {
            Err(config.error("sliding_window", "it is missing, but layers of the model have one"))
        }
        _ => Ok(None),
    }
}

/// The layers that `layer_types` gives a window; nothing where it is absent.
fn layer_types(config: &Object, num_layers: usize) -> Result<Option<Vec<usize>>, BuildError> {
    let Some(kinds) = config.optional::<Vec<String>>("layer_types")? else { return Ok(None) };
    if kinds.len() != num_layers {
        let reason = format!("it names {} layers of {num_layers}", kinds.len());
        return Err(config.error("layer_types", &reason));
    }
    if let Some(other) =
        kinds.iter().find(|kind| !["full_attention", "sliding_attention"].contains(&kind.as_str()))
    {
        let reason = format!("{other} is not supported; known are full_attention and sliding_attention");
        return Err(config.error("layer_types", &reason));
    }
    let windowed = |(layer, kind): (usize, &String)| (kind == "sliding_attention").then_some(layer);
    Ok(Some(kinds.iter().enumerate().filter_map(windowed).collect()))
}
