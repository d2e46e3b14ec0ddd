//! Bounds of the numbers that describe the model.

use super::number::{
    Checked, EXPERTS, LAYERS, TOKENS, VOCABULARY, WIDTH, finite, not_negative, out_of_bounds, positive,
    within,
};
use crate::manifest::{Bidirectional, Experts, Model, Rope, RopeScaling, Variant};

pub(super) fn check(model: &Model) -> Checked {
    within("model.vocab_size", model.vocab_size, VOCABULARY)?;
    within("model.hidden_size", model.hidden_size, WIDTH)?;
    within("model.intermediate_size", model.intermediate_size, WIDTH)?;
    within("model.num_layers", model.num_layers, LAYERS)?;
    within("model.num_heads", model.num_heads, WIDTH)?;
    within("model.num_kv_heads", model.num_kv_heads, 1..=model.num_heads)?;
    within("model.head_dim", model.head_dim, WIDTH)?;
    within("model.num_heads times model.head_dim", model.num_heads * model.head_dim, WIDTH)?;
    if !model.num_heads.is_multiple_of(model.num_kv_heads) {
        let expected = format!("a divisor of model.num_heads, {}", model.num_heads);
        return Err(out_of_bounds("model.num_kv_heads", model.num_kv_heads, expected));
    }
    not_negative("model.norm_eps", model.norm_eps.into())?;
    check_rope("model.rope", &model.rope)?;
    check_frequencies(model)?;
    check_variant(model, &model.variant)
}

fn check_variant(model: &Model, variant: &Variant) -> Checked {
    finite("model.variant.embedding_scale", variant.embedding_scale.into())?;
    if let Some(scale) = variant.attention_scale {
        finite("model.variant.attention_scale", scale.into())?;
    }
    if let Some(growth) = &variant.query_growth {
        positive("model.variant.query_growth.beta", growth.beta.into())?;
        within("model.variant.query_growth.length", growth.length, TOKENS)?;
    }
    if let Some(cap) = variant.attention_softcap {
        positive("model.variant.attention_softcap", cap.into())?;
    }
    if let Some(dim) = variant.rotary_dim {
        within("model.variant.rotary_dim", dim, 0..=model.head_dim)?;
    }
    if let Some(positions) = &variant.positions {
        within("model.variant.positions.rows", positions.rows, TOKENS)?;
        let least = usize::from(positions.padding.is_some());
        within("model.variant.positions.first", positions.first, least..=positions.rows)?;
    }
    if let Some(bidirectional) = &variant.bidirectional {
        check_bidirectional(bidirectional)?;
    }
    if let Some(scale) = variant.residual_scale {
        finite("model.variant.residual_scale", scale.into())?;
    }
    if let Some(experts) = &variant.experts {
        check_experts(model, experts)?;
    }
    if let Some(window) = &variant.sliding_window {
        within("model.variant.sliding_window.keys", window.keys, TOKENS)?;
        for &layer in &window.layers {
            within("model.variant.sliding_window.layers", layer, 0..=model.num_layers - 1)?;
        }
        if let Some(rope) = &window.rope {
            check_rope("model.variant.sliding_window.rope", rope)?;
        }
    }
    Ok(())
}

fn check_experts(model: &Model, experts: &Experts) -> Checked {
    within("model.variant.experts.count", experts.count, EXPERTS)?;
    within("model.variant.experts.active", experts.active, 1..=experts.count)?;
    within("model.variant.experts.intermediate_size", experts.intermediate_size, WIDTH)?;
    if let Some(shared) = &experts.shared {
        within("model.variant.experts.shared.intermediate_size", shared.intermediate_size, WIDTH)?;
    }
    within("the number of model.variant.experts.layers", experts.layers.len(), 1..=model.num_layers)?;
    for &layer in &experts.layers {
        within("model.variant.experts.layers", layer, 0..=model.num_layers - 1)?;
    }
    Ok(())
}

fn check_bidirectional(parts: &Bidirectional) -> Checked {
    if let Some(segments) = &parts.segments {
        within("model.variant.bidirectional.segments.rows", segments.rows, WIDTH)?;
        if segments.separator.is_some() {
            within("model.variant.bidirectional.segments.rows", segments.rows, 2..=*WIDTH.end())?;
        }
    }
    if let Some(relative) = &parts.relative {
        within("model.variant.bidirectional.relative.span", relative.span, 1..=1 << 15)?;
        within("model.variant.bidirectional.relative.longest", relative.longest, 2..=*TOKENS.end())?;
        if let Some(buckets) = relative.buckets {
            within("model.variant.bidirectional.relative.buckets", buckets, 4..=relative.longest)?;
        }
    }
    Ok(())
}

/// A LongRoPE has a factor for each frequency, and only layers that are all alike may have a rotation that depends on
/// the length of the text.
fn check_frequencies(model: &Model) -> Checked {
    if let RopeScaling::LongRope { short_factor, long_factor, .. } = &model.rope.scaling {
        let pairs = model.variant.rotary_dim.unwrap_or(model.head_dim) / 2;
        within("the number of short factors in model.rope.scaling", short_factor.len(), pairs..=pairs)?;
        within("the number of long factors in model.rope.scaling", long_factor.len(), pairs..=pairs)?;
    }
    let windowed = model.variant.sliding_window.as_ref().and_then(|window| window.rope.as_ref());
    match windowed.and_then(|rope| rope.scaling.usual_length()) {
        None => Ok(()),
        Some(length) => {
            let expected = "a scaling that does not depend on the length of the text";
            Err(out_of_bounds("model.variant.sliding_window.rope.scaling", length, expected))
        }
    }
}

fn check_rope(field: &str, rope: &Rope) -> Checked {
    let path = |name: &str| format!("{field}.{name}");
    if !(rope.theta.is_finite() && rope.theta > 1.0) {
        return Err(out_of_bounds(path("theta"), rope.theta, "a finite number above 1"));
    }
    match &rope.scaling {
        RopeScaling::Default | RopeScaling::Unrotated => Ok(()),
        RopeScaling::Linear { factor } => positive(path("scaling.factor"), *factor),
        RopeScaling::Llama3 {
            factor,
            low_freq_factor,
            high_freq_factor,
            original_max_position_embeddings: original,
        } => {
            positive(path("scaling.factor"), *factor)?;
            positive(path("scaling.low_freq_factor"), *low_freq_factor)?;
            positive(path("scaling.high_freq_factor"), *high_freq_factor)?;
            within(path("scaling.original_max_position_embeddings"), *original, TOKENS)
        }
        RopeScaling::Yarn {
            factor,
            beta_fast,
            beta_slow,
            attention_factor,
            original_max_position_embeddings: original,
            truncate: _,
        } => {
            positive(path("scaling.factor"), *factor)?;
            positive(path("scaling.beta_fast"), *beta_fast)?;
            positive(path("scaling.beta_slow"), *beta_slow)?;
            positive(path("scaling.attention_factor"), *attention_factor)?;
            within(path("scaling.original_max_position_embeddings"), *original, TOKENS)
        }
        RopeScaling::Dynamic { factor, max_position_embeddings } => {
            positive(path("scaling.factor"), *factor)?;
            within(path("scaling.max_position_embeddings"), *max_position_embeddings, TOKENS)
        }
        RopeScaling::LongRope {
            short_factor,
            long_factor,
            attention_factor,
            original_max_position_embeddings: original,
        } => {
            for (name, factors) in [("short_factor", short_factor), ("long_factor", long_factor)] {
                for &factor in factors {
                    positive(path(&format!("scaling.{name}")), factor)?;
                }
            }
            positive(path("scaling.attention_factor"), *attention_factor)?;
            within(path("scaling.original_max_position_embeddings"), *original, TOKENS)
        }
    }
}
