//! Rotary frequencies, as transformers' `modeling_rope_utils` computes them.

use std::f64::consts::PI;

use crate::engine::LengthClasses;
use crate::engine::bridge::ffi;
use crate::manifest::{Rope, RopeScaling};

/// A model's embedding as the C++ decoder takes it; `dim` is the rotated width.
pub(super) fn view(rope: &Rope, dim: usize) -> ffi::RopeView {
    let (inverse_frequencies, factor) = inverse_frequencies(rope, dim);
    let plain = ffi::RopeView {
        inverse_frequencies,
        factor,
        usual_tokens: 0,
        long_inverse_frequencies: vec![],
        ntk_theta: 0.0,
        ntk_factor: 0.0,
    };
    match &rope.scaling {
        RopeScaling::Dynamic { factor, max_position_embeddings } => ffi::RopeView {
            usual_tokens: *max_position_embeddings,
            ntk_theta: rope.theta,
            ntk_factor: *factor,
            ..plain
        },
        RopeScaling::LongRope { long_factor, original_max_position_embeddings, .. } => ffi::RopeView {
            usual_tokens: *original_max_position_embeddings,
            long_inverse_frequencies: divided(rope, dim, long_factor),
            ..plain
        },
        _ => plain,
    }
}

/// Which texts may share a prefix.
pub(super) fn length_classes(scaling: &RopeScaling) -> LengthClasses {
    match scaling {
        RopeScaling::Dynamic { max_position_embeddings, .. } => {
            LengthClasses::EachBeyond { usual: *max_position_embeddings }
        }
        RopeScaling::LongRope { original_max_position_embeddings, .. } => {
            LengthClasses::Two { usual: *original_max_position_embeddings }
        }
        _ => LengthClasses::Alike,
    }
}

fn plain_frequencies(rope: &Rope, dim: usize) -> impl Iterator<Item = f64> {
    (0..dim / 2).map(move |i| rope.theta.powf(-2.0 * i as f64 / dim as f64))
}

fn divided(rope: &Rope, dim: usize, factors: &[f64]) -> Vec<f32> {
    narrow(plain_frequencies(rope, dim).zip(factors).map(|(frequency, factor)| frequency / factor))
}

/// Inverse frequencies, `[dim / 2]` in radians per position, and the factor on cosine and sine, in texts of usual
/// length.
///
/// They are computed in f64 and rounded once, which is within one unit in the last place of transformers'
/// f32.
fn inverse_frequencies(rope: &Rope, dim: usize) -> (Vec<f32>, f32) {
    let plain = plain_frequencies(rope, dim);
    match rope.scaling {
        RopeScaling::Default | RopeScaling::Dynamic { .. } => (narrow(plain), 1.0),
        RopeScaling::Unrotated => (vec![0.0; dim / 2], 1.0),
        RopeScaling::LongRope { ref short_factor, attention_factor, .. } => {
            (divided(rope, dim, short_factor), attention_factor as f32)
        }
        RopeScaling::Linear { factor } => (narrow(plain.map(|f| f / factor)), 1.0),
        RopeScaling::Llama3 {
            factor,
            low_freq_factor,
            high_freq_factor,
            original_max_position_embeddings,
        } => {
            let context = original_max_position_embeddings as f64;
            let blend = |frequency: f64| {
                let turns = context * frequency / (2.0 * PI);
                let kept = (turns - low_freq_factor) / (high_freq_factor - low_freq_factor);
                let kept = if turns < low_freq_factor {
                    0.0
                } else if turns > high_freq_factor {
                    1.0
                } else {
                    kept
                };
                (1.0 - kept) * frequency / factor + kept * frequency
            };
            (narrow(plain.map(blend)), 1.0)
        }
        RopeScaling::Yarn {
            factor,
            beta_fast,
            beta_slow,
            attention_factor,
            original_max_position_embeddings,
            truncate,
        } => {
            // The index of the frequency that completes this number of turns within the original context.
            let index_of = |turns: f64| {
                dim as f64 * (original_max_position_embeddings as f64 / (turns * 2.0 * PI)).ln()
                    / (2.0 * rope.theta.ln())
            };
            let (mut low, mut high) = (index_of(beta_fast), index_of(beta_slow));
            if truncate {
                (low, high) = (low.floor(), high.ceil());
            }
            (low, high) = (low.max(0.0), high.min(dim as f64 - 1.0));
            if low == high {
                high += 0.001;
            }
            let blend = |(i, frequency): (usize, f64)| {
                let divided = ((i as f64 - low) / (high - low)).clamp(0.0, 1.0);
                divided * frequency / factor + (1.0 - divided) * frequency
            };
            (narrow(plain.enumerate().map(blend)), attention_factor as f32)
        }
    }
}

fn narrow(values: impl Iterator<Item = f64>) -> Vec<f32> {
    values.map(|value| value as f32).collect()
}
