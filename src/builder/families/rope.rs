//! Rotary embeddings as `config.json` describes them, after transformers' `modeling_rope_utils`.

use crate::builder::BuildError;
use crate::builder::json::Object;
use crate::manifest::{Rope, RopeScaling};

/// Base of the frequencies unless the checkpoint sets one.
const DEFAULT_THETA: f64 = 10_000.0;

/// As [`DEFAULT_THETA`], for layers without a window in models whose layers have different embeddings.
const DEFAULT_GLOBAL_THETA: f64 = 1_000_000.0;

/// The rotary embeddings of a model.
pub(crate) struct Ropes {
    pub(crate) rope: Rope,
    /// That of layers with a window, if it differs.
    pub(crate) windowed: Option<Rope>,
}

/// The fraction of each head that is rotated, if the checkpoint sets it.
pub(super) fn partial_factor(config: &Object) -> Result<Option<f64>, BuildError> {
    let field = "partial_rotary_factor";
    let nested = parameters(config)?;
    Ok(nested.optional(field)?.or(config.optional(field)?))
}

/// `rope_scaling` (before transformers 5) or `rope_parameters` (since).
fn parameters(config: &Object) -> Result<Object, BuildError> {
    let scaling = config.nested("rope_scaling")?;
    if scaling.is_empty() { config.nested("rope_parameters") } else { Ok(scaling) }
}

/// Reads one embedding for all layers.
pub(super) fn read(config: &Object, max_position_embeddings: usize) -> Result<Ropes, BuildError> {
    let rope =
        read_from(config, &parameters(config)?, max_position_embeddings, Dynamic::Refused, DEFAULT_THETA)?;
    Ok(Ropes { rope, windowed: None })
}

/// As [`read`], and accepts `dynamic` scaling as no scaling: it changes nothing up to
/// `max_position_embeddings`, and no engine goes beyond.
pub(super) fn read_dynamic(config: &Object, max_position_embeddings: usize) -> Result<Ropes, BuildError> {
    let rope =
        read_from(config, &parameters(config)?, max_position_embeddings, Dynamic::Ignored, DEFAULT_THETA)?;
    Ok(Ropes { rope, windowed: None })
}

/// Reads the embedding of layers without a window, and that of layers with one.
pub(super) fn read_by_layer(config: &Object, max_position_embeddings: usize) -> Result<Ropes, BuildError> {
    let scaling = config.nested("rope_scaling")?;
    let by_layer = config.nested("rope_parameters")?;
    let global = if scaling.is_empty() { by_layer.nested("full_attention")? } else { scaling };
    let rope = read_from(config, &global, max_position_embeddings, Dynamic::Refused, DEFAULT_GLOBAL_THETA)?;
    let local = by_layer.nested("sliding_attention")?;
    let theta = match local.optional("rope_theta")? {
        Some(theta) => theta,
        None => config.optional("rope_local_base_freq")?.unwrap_or(DEFAULT_THETA),
    };
    if !(theta > 1.0 && f64::is_finite(theta)) {
        return Err(config.error("rope_local_base_freq", &format!("{theta} is not a number above 1")));
    }
    let scaling = read_scaling(&local, max_position_embeddings, max_position_embeddings, Dynamic::Refused)?;
    Ok(Ropes { rope, windowed: Some(Rope { theta, scaling }) })
}

/// What to do with `dynamic` scaling.
#[derive(Clone, Copy, PartialEq)]
enum Dynamic {
    Refused,
    Ignored,
}

/// Reads the scaling, and `rope_theta` from `parameters` or from the top of `config`.
fn read_from(
    config: &Object,
    parameters: &Object,
    max_position_embeddings: usize,
    dynamic: Dynamic,
    default_theta: f64,
) -> Result<Rope, BuildError> {
    let theta = match parameters.optional("rope_theta")? {
        Some(theta) => theta,
        None => config.optional("rope_theta")?.unwrap_or(default_theta),
    };
    if !(theta > 1.0 && f64::is_finite(theta)) {
        return Err(config.error("rope_theta", &format!("{theta} is not a number above 1")));
    }
    // A value at the top, as in Phi-3 checkpoints, overrides that of the parameters, as it does in transformers.
    let original_max_position_embeddings = match config.optional("original_max_position_embeddings")? {
        Some(original) => original,
        None => parameters.optional("original_max_position_embeddings")?.unwrap_or(max_position_embeddings),
    };
    if original_max_position_embeddings == 0 {
        return Err(parameters.error("original_max_position_embeddings", "0 is not a length"));
    }
    let scaling =
        read_scaling(parameters, max_position_embeddings, original_max_position_embeddings, dynamic)?;
    Ok(Rope { theta, scaling })
}

fn read_scaling(
    parameters: &Object,
    max: usize,
    original: usize,
    dynamic: Dynamic,
) -> Result<RopeScaling, BuildError> {
    let kind: Option<String> = match parameters.optional("rope_type")? {
        Some(kind) => Some(kind),
        None => parameters.optional("type")?,
    };
    match kind.as_deref() {
        None | Some("default") => Ok(RopeScaling::Default),
        Some("dynamic") if dynamic == Dynamic::Ignored => Ok(RopeScaling::Default),
        Some("linear") => Ok(RopeScaling::Linear { factor: factor(parameters, None)? }),
        Some("llama3") => llama3(parameters, original),
        Some("yarn") => yarn(parameters, max, original),
        Some(other) => {
            let reason = format!("{other} is not supported; known are default, linear, llama3, yarn");
            Err(parameters.error("rope_type", &reason))
        }
    }
}

fn llama3(parameters: &Object, original: usize) -> Result<RopeScaling, BuildError> {
    let low_freq_factor: f64 = parameters.required("low_freq_factor")?;
    let high_freq_factor: f64 = parameters.required("high_freq_factor")?;
    if !(low_freq_factor > 0.0 && high_freq_factor > low_freq_factor && high_freq_factor.is_finite()) {
        let reason =
            format!("{high_freq_factor} must be above low_freq_factor, {low_freq_factor}, and that above 0");
        return Err(parameters.error("high_freq_factor", &reason));
    }
    Ok(RopeScaling::Llama3 {
        factor: factor(parameters, None)?,
        low_freq_factor,
        high_freq_factor,
        original_max_position_embeddings: original,
    })
}

fn yarn(parameters: &Object, max: usize, original: usize) -> Result<RopeScaling, BuildError> {
    let factor = factor(parameters, Some(max as f64 / original as f64))?;
    let beta_fast = positive(parameters, "beta_fast", 32.0)?;
    let beta_slow = positive(parameters, "beta_slow", 1.0)?;
    let stretch = |scale: f64| if factor <= 1.0 { 1.0 } else { 0.1 * scale * factor.ln() + 1.0 };
    let mscale = positive(parameters, "mscale", 0.0)?;
    let mscale_all_dim = positive(parameters, "mscale_all_dim", 0.0)?;
    let attention_factor = if mscale > 0.0 && mscale_all_dim > 0.0 {
        stretch(mscale) / stretch(mscale_all_dim)
    } else {
        stretch(1.0)
    };
    Ok(RopeScaling::Yarn {
        factor,
        beta_fast,
        beta_slow,
        attention_factor: positive(parameters, "attention_factor", attention_factor)?,
        original_max_position_embeddings: original,
        truncate: parameters.optional("truncate")?.unwrap_or(true),
    })
}

/// A number above 0. Zero counts as absent, as it does in transformers.
fn positive(parameters: &Object, field: &str, default: f64) -> Result<f64, BuildError> {
    match parameters.optional::<f64>(field)? {
        None | Some(0.0) => Ok(default),
        Some(value) if value > 0.0 && value.is_finite() => Ok(value),
        Some(value) => Err(parameters.error(field, &format!("{value} is not above 0"))),
    }
}

fn factor(parameters: &Object, default: Option<f64>) -> Result<f64, BuildError> {
    let factor = match default {
        Some(default) => parameters.optional("factor")?.unwrap_or(default),
        None => parameters.required("factor")?,
    };
    if factor >= 1.0 && f64::is_finite(factor) {
        Ok(factor)
    } else {
        Err(parameters.error("factor", &format!("{factor} is not a number of at least 1")))
    }
}

/// The longest sequence that the scaling stretches to, in tokens; at least `max_position_embeddings`.
pub(crate) fn longest(scaling: &RopeScaling, max_position_embeddings: usize) -> usize {
    let (factor, original) = match *scaling {
        RopeScaling::Default => (1.0, max_position_embeddings),
        RopeScaling::Linear { factor } => (factor, max_position_embeddings),
        RopeScaling::Llama3 { factor, original_max_position_embeddings, .. }
        | RopeScaling::Yarn { factor, original_max_position_embeddings, .. } => {
            (factor, original_max_position_embeddings)
        }
    };
    max_position_embeddings.max((original as f64 * factor) as usize)
}
