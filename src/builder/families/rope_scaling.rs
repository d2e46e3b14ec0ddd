//! The scaling of a rotary embedding: each type's fields, and their defaults in transformers.

use crate::builder::BuildError;
use crate::builder::json::Object;
use crate::manifest::RopeScaling;

pub(super) fn llama3(parameters: &Object, original: usize) -> Result<RopeScaling, BuildError> {
    let low_freq_factor: f64 = parameters.required("low_freq_factor")?;
    let high_freq_factor: f64 = parameters.required("high_freq_factor")?;
    if !(low_freq_factor > 0.0 && high_freq_factor > low_freq_factor && high_freq_factor.is_finite()) {
        let reason = format!(
            "{high_freq_factor} must be above low_freq_factor ({low_freq_factor}), which must be above 0"
        );
        return Err(parameters.error("high_freq_factor", &reason));
    }
    Ok(RopeScaling::Llama3 {
        factor: factor(parameters, None)?,
        low_freq_factor,
        high_freq_factor,
        original_max_position_embeddings: original,
    })
}

pub(super) fn yarn(parameters: &Object, original: usize) -> Result<RopeScaling, BuildError> {
    let factor = factor(parameters, None)?;
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

pub(super) fn longrope(parameters: &Object, max: usize, original: usize) -> Result<RopeScaling, BuildError> {
    let factor = factor(parameters, Some((max as f64 / original as f64).max(1.0)))?;
    let default = (1.0 + factor.ln() / (original as f64).ln()).sqrt();
    let attention_factor = positive(parameters, "attention_factor", default)?;
    Ok(RopeScaling::LongRope {
        short_factor: divisors(parameters, "short_factor")?,
        long_factor: divisors(parameters, "long_factor")?,
        attention_factor,
        original_max_position_embeddings: original,
    })
}

/// Numbers above 0.
fn divisors(parameters: &Object, field: &str) -> Result<Vec<f64>, BuildError> {
    let factors: Vec<f64> = parameters.required(field)?;
    factors.into_iter().map(|factor| parameters.positive(field, factor)).collect()
}

/// A number above 0. Zero counts as absent, as it does in transformers.
fn positive(parameters: &Object, field: &str, default: f64) -> Result<f64, BuildError> {
    match parameters.optional::<f64>(field)? {
        None | Some(0.0) => Ok(default),
        Some(value) => parameters.positive(field, value),
    }
}

pub(super) fn factor(parameters: &Object, default: Option<f64>) -> Result<f64, BuildError> {
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
