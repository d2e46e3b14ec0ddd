//! Rotary frequencies, as transformers' `modeling_rope_utils` computes them.

use std::f64::consts::PI;

use crate::manifest::{Rope, RopeScaling};

/// Inverse frequencies, `[dim / 2]` in radians per position, and the factor on cosine and sine.
///
/// They are computed in f64 and rounded once, which is within one unit in the last place of transformers'
/// f32.
pub(super) fn inverse_frequencies(rope: &Rope, dim: usize) -> (Vec<f32>, f32) {
    let plain = (0..dim / 2).map(|i| rope.theta.powf(-2.0 * i as f64 / dim as f64));
    match rope.scaling {
        RopeScaling::Default => (narrow(plain), 1.0),
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
            // The index of the frequency with this number of turns in the original context.
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
