//! Reads from `config.json` how a model's decoder differs from Llama's, following its family's description.

use serde_json::Value;

use super::spec::{ATTENTION_CAP, Bias, FamilySpec, LogitScale, ParallelResidual, Softcap};
use super::{encoders, experts, rope, windows};
use crate::builder::BuildError;
use crate::builder::json::Object;
use crate::manifest::{Activation, QkNorm, Rope, RopeScaling, Variant};

/// Whether there are biases in the query, key and value projections, in the attention's output and in the
/// feed-forward network.
pub(crate) fn biases(config: &Object, family: &FamilySpec) -> Result<[bool; 3], BuildError> {
    let biases = &family.biases;
    let mut present = [false; 3];
    for (present, bias) in present.iter_mut().zip([biases.qkv, biases.output, biases.mlp]) {
        *present = match bias {
            Bias::Absent => false,
            Bias::Present => true,
            Bias::If(field) => config.optional(field)?.unwrap_or(false),
            Bias::Unless(field) => config.optional(field)?.unwrap_or(true),
        };
    }
    Ok(present)
}

/// The rotary embedding of most layers.
///
/// That of layers with a window, and the rotated width, go into `variant`.
pub(crate) fn rotary(
    config: &Object,
    family: &FamilySpec,
    max_position_embeddings: usize,
    head_dim: usize,
    variant: &mut Variant,
    notes: &mut Vec<String>,
) -> Result<Rope, BuildError> {
    if family.rotary.partial == Some(0.0) {
        variant.rotary_dim = Some(0);
        return Ok(Rope { theta: family.rotary.theta, scaling: RopeScaling::Default });
    }
    let fraction = rope::partial_factor(config, notes)?.unwrap_or(family.rotary.partial.unwrap_or(1.0));
    let width = (head_dim as f64 * fraction) as usize;
    if fraction != 1.0 {
        let possible = (2..=head_dim).contains(&width) && width.is_multiple_of(2);
        if family.rotary.partial.is_none() || !possible {
            let reason = format!("{fraction} is not supported for this family and heads of {head_dim}");
            return Err(config.error("partial_rotary_factor", &reason));
        }
        variant.rotary_dim = Some(width);
    }
    let defaults = rope::RopeDefaults { theta: family.rotary.theta, max_position_embeddings };
    let ropes = (family.rotary.read)(config, &defaults, notes)?;
    rope::check_factors(config, &ropes.rope.scaling, width)?;
    if let Some(window) = &mut variant.sliding_window {
        window.rope = ropes.windowed;
    }
    if let Some(field) = family.rotary.query_growth {
        variant.query_growth = rope::query_growth(config, field, max_position_embeddings)?;
    }
    Ok(ropes.rope)
}

/// Sizes that other settings depend on.
pub(crate) struct Sizes {
    pub(crate) hidden_size: usize,
    pub(crate) num_layers: usize,
    pub(crate) head_dim: usize,
    pub(crate) max_position_embeddings: usize,
}

/// The differences from Llama's decoder, except for the rotary embedding.
pub(crate) fn variant(
    config: &Object,
    family: &FamilySpec,
    sizes: &Sizes,
    notes: &mut Vec<String>,
) -> Result<Variant, BuildError> {
    let &Sizes { hidden_size, num_layers, head_dim, max_position_embeddings } = sizes;
    let attention_scale = match family.attention.query_scalar {
        Some(default) => {
            let scalar: f32 = config.optional("query_pre_attn_scalar")?.unwrap_or(default);
            Some(config.positive("query_pre_attn_scalar", scalar)?.powf(-0.5))
        }
        None => multiplier(config, family.multipliers.attention)?,
    };
    if family.attention.softcap.is_none() && config.optional::<f64>(ATTENTION_CAP)?.is_some() {
        notes.push(format!(
            "{ATTENTION_CAP} in config.json has no effect: a {} does not cap the scores of attention, as in transformers",
            family.title
        ));
    }
    let bidirectional = encoders::bidirectional(config, family.encoder.as_ref())?;
    let attention_scale = encoders::attention_scale(bidirectional.as_ref(), head_dim).or(attention_scale);
    let embedding_scale = multiplier(config, family.multipliers.embedding)?.unwrap_or(1.0);
    Ok(Variant {
        norm: family.norms.kind,
        qk_norm: qk_norm(config, family)?,
        pre_norms: family.norms.inputs.is_some(),
        post_norms: family.norms.outputs.is_some(),
        activation: activation(config, family, notes)?,
        embedding_scale: if family.scaled_embedding { (hidden_size as f32).sqrt() } else { embedding_scale },
        attention_scale,
        attention_softcap: softcap(config, family.attention.softcap)?,
        query_growth: None,
        rotary_dim: None,
        sliding_window: windows::read(config, family, num_layers, notes)?,
        experts: experts::read(config, family.experts.as_ref(), num_layers)?,
        parallel_residual: match family.parallel_residual {
            ParallelResidual::Never => false,
            ParallelResidual::Always => true,
            ParallelResidual::Unless(field) => config.optional(field)?.unwrap_or(true),
        },
        residual_scale: multiplier(config, family.multipliers.residual)?,
        positions: encoders::positions(config, family.positions.as_ref(), max_position_embeddings)?,
        bidirectional,
    })
}

/// The norms of queries and keys.
fn qk_norm(config: &Object, family: &FamilySpec) -> Result<QkNorm, BuildError> {
    const USUAL_FIELD: &str = "use_qk_norm";
    let spec = family.norms.queries_and_keys;
    match family.norms.queries_and_keys_if {
        Some(field) => Ok(if config.optional(field)?.unwrap_or(false) { spec } else { QkNorm::None }),
        None if config.optional(USUAL_FIELD)?.unwrap_or(false) => {
            let reason = format!(
                "norms of queries and keys that can be switched on are not supported in a {}",
                family.title
            );
            Err(config.error(USUAL_FIELD, &reason))
        }
        None => Ok(spec),
    }
}

/// What logits of the vocabulary are capped at.
pub(crate) fn final_softcap(config: &Object, family: &FamilySpec) -> Result<Option<f32>, BuildError> {
    softcap(config, family.final_softcap)
}

/// A factor of the family's; 1 if its field is absent, `None` if the family has none.
fn multiplier(config: &Object, field: Option<&'static str>) -> Result<Option<f32>, BuildError> {
    let Some(field) = field else { return Ok(None) };
    let factor = config.optional(field)?.unwrap_or(1.0);
    config.positive(field, factor).map(Some)
}

/// What the logits of the vocabulary are multiplied by: a power of two, so that multiplying the head's weights
/// instead changes no bit.
pub(crate) fn logit_scale(config: &Object, family: &FamilySpec) -> Result<f32, BuildError> {
    let Some(LogitScale { field, default, divides }) = family.multipliers.logits else { return Ok(1.0) };
    let stored: f32 = config.optional(field)?.unwrap_or(default);
    let scale = if divides { 1.0 / stored } else { stored };
    if config.positive(field, scale)?.to_bits().trailing_zeros() < f32::MANTISSA_DIGITS - 1 {
        return Err(config.error(field, &format!("{stored} is not supported; it must be a power of two")));
    }
    Ok(scale)
}

fn softcap(config: &Object, softcap: Option<Softcap>) -> Result<Option<f32>, BuildError> {
    let Some(Softcap { field, default }) = softcap else { return Ok(None) };
    let cap = if config.has(field) { config.optional(field)? } else { default };
    cap.map(|cap| config.positive(field, cap)).transpose()
}

fn activation(
    config: &Object,
    family: &FamilySpec,
    notes: &mut Vec<String>,
) -> Result<Activation, BuildError> {
    let spec = &family.activation;
    if let Some(named) = config.optional::<String>(spec.field)?
        && common_name(&named) != common_name(spec.name)
    {
        let reason = format!("the activation {named} is not supported; this family uses {}", spec.name);
        return Err(config.error(spec.field, &reason));
    }
    let other = "hidden_act";
    if spec.field != other
        && let Some(Value::String(named)) = config.optional::<Value>(other)?
        && common_name(&named) != common_name(spec.name)
    {
        notes.push(format!(
            "{other} {named} in config.json has no effect: a {} reads {}, as in transformers",
            family.title, spec.field
        ));
    }
    Ok(spec.activation)
}

/// One of the names that transformers has for an activation, the same for all of them.
pub(crate) fn common_name(name: &str) -> &str {
    match name {
        "swish" => "silu",
        "gelu_python" => "gelu",
        "gelu_new" | "gelu_fast" | "gelu_accurate" => "gelu_pytorch_tanh",
        other => other,
    }
}
