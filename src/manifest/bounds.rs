//! Bounds of the manifest's numbers. An engine directory may come from a stranger: no number in it may lead the engine
//! to divide by zero, to compute a size that overflows, or to loop for hours before it finds that a tensor is missing.

use std::fmt::Display;
use std::ops::RangeInclusive;

use super::judge::MOST_QUESTIONS;
use super::{
    Bidirectional, BuildLimits, Experts, Gating, Gpus, Head, Judge, Manifest, Model, Pooling, Rope,
    RopeScaling, Target, Variant,
};

/// A number of the manifest that no engine can have.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{field} is {found}; it must be {expected}")]
pub struct OutOfBounds {
    /// Its path in the manifest, for example `model.hidden_size`.
    pub field: String,
    /// Its value.
    pub found: String,
    /// What it may be, as the rest of a sentence.
    pub expected: String,
}

/// Widths of vectors: the product of any three fits in 64 bits, with room for the bytes of a value.
const WIDTH: RangeInclusive<usize> = 1..=1 << 20;
/// Rows of the embedding.
const VOCABULARY: RangeInclusive<usize> = 1..=1 << 24;
/// Experts of a layer.
const EXPERTS: RangeInclusive<usize> = 1..=1 << 16;
const LAYERS: RangeInclusive<usize> = 1..=4096;
/// Tokens of a text, and sequences or tokens of an iteration.
const TOKENS: RangeInclusive<usize> = 1..=1 << 30;
/// Ranks in one direction.
const RANKS: RangeInclusive<usize> = 1..=4096;

type Checked = Result<(), OutOfBounds>;

/// Checks every number that sizes or divides something.
pub(super) fn check(manifest: &Manifest) -> Checked {
    check_model(&manifest.model)?;
    check_limits(&manifest.limits)?;
    check_head(&manifest.head)?;
    check_whole_texts(manifest)?;
    if let Target::TensorrtLlm(gpus) = &manifest.target {
        check_gpus(gpus)?;
    }
    for (field, tokens) in
        [("prompt.suffix", &manifest.prompt.suffix), ("prompt.end_tokens", &manifest.prompt.end_tokens)]
    {
        if let Some(token) = tokens.iter().find(|&&token| token as usize > *VOCABULARY.end()) {
            return Err(out_of_bounds(field, token, range(&(0..=*VOCABULARY.end()))));
        }
    }
    Ok(())
}

fn check_model(model: &Model) -> Checked {
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

/// An encoder reads a text as a whole, and its head is read at the first token or over all.
fn check_whole_texts(manifest: &Manifest) -> Checked {
    let of_encoder = matches!(manifest.head.pooling, Pooling::FirstToken | Pooling::Mean);
    let is_encoder = manifest.model.variant.bidirectional.is_some();
    if of_encoder != is_encoder {
        let expected = if is_encoder {
            "first_token or mean in an encoder"
        } else {
            "that of a decoder, such as last_token"
        };
        return Err(out_of_bounds("head.pooling", format!("{:?}", manifest.head.pooling), expected));
    }
    let limits = &manifest.limits;
    if is_encoder && limits.max_num_tokens < limits.max_seq_len {
        let expected = format!("at least limits.max_seq_len, {}, in an encoder", limits.max_seq_len);
        return Err(out_of_bounds("limits.max_num_tokens", limits.max_num_tokens, expected));
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
        RopeScaling::Default => Ok(()),
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

fn check_limits(limits: &BuildLimits) -> Checked {
    within("limits.max_seq_len", limits.max_seq_len, TOKENS)?;
    within("limits.max_batch_size", limits.max_batch_size, TOKENS)?;
    within("limits.max_num_tokens", limits.max_num_tokens, TOKENS)
}

fn check_head(head: &Head) -> Checked {
    within("the number of layers in head.hidden", head.hidden.len(), 0..=64)?;
    for layer in &head.hidden {
        within("head.hidden.width", layer.width, WIDTH)?;
        if let Some(eps) = layer.norm_eps {
            not_negative("head.hidden.norm_eps", eps.into())?;
        }
    }
    if let Some(cap) = head.softcap {
        positive("head.softcap", cap.into())?;
    }
    if let Pooling::EachStep { id, .. } | Pooling::LastNonPad { pad: id } = head.pooling {
        within("head.pooling.id", id as usize, 0..=*VOCABULARY.end())?;
    }
    head.judge.as_ref().map_or(Ok(()), |judge| check_judge(head, judge))?;
    head.gating.as_ref().map_or(Ok(()), check_gating)
}

/// Every question has its attribute, and every answer a token among the rows.
fn check_judge(head: &Head, judge: &Judge) -> Checked {
    let count = judge.questions.len();
    within("the number of head.judge.questions", count, 1..=MOST_QUESTIONS)?;
    within("the number of head.attributes of a judge", head.attributes.len(), count..=count)?;
    for (attribute, question) in head.attributes.iter().zip(&judge.questions) {
        let field = format!("head.judge.questions of {attribute}");
        if let Err(error) = question.check() {
            return Err(out_of_bounds(field, "one that cannot be asked", error.to_string()));
        }
        for answer in &question.answers {
            let known = answer.token.is_some_and(|token| head.rows.contains(&(token as usize)));
            if !known {
                return Err(out_of_bounds(field, format!("{:?}", answer.text), "a token among head.rows"));
            }
        }
    }
    Ok(())
}

fn check_gating(gating: &Gating) -> Checked {
    for &width in &gating.hidden {
        within("head.gating.hidden", width, WIDTH)?;
    }
    positive("head.gating.temperature", gating.temperature.into())?;
    finite("head.gating.scale", gating.scale.into())?;
    within("the number of rows of head.gating.transform", gating.transform.len(), WIDTH)?;
    for row in &gating.transform {
        if row.len() != gating.transform.len() {
            let expected = format!("{}, the number of rows", gating.transform.len());
            return Err(out_of_bounds("the length of a row of head.gating.transform", row.len(), expected));
        }
        for &value in row {
            finite("head.gating.transform", value.into())?;
        }
    }
    Ok(())
}

fn check_gpus(gpus: &Gpus) -> Checked {
    within("target.tensor_parallel", gpus.tensor_parallel, RANKS)?;
    within("target.pipeline_parallel", gpus.pipeline_parallel, RANKS)?;
    if let Some(count) = gpus.gpus_per_node {
        within("target.gpus_per_node", count, RANKS)?;
    }
    if let Some(rows) = gpus.lm_head_rows {
        within("target.lm_head_rows", rows, VOCABULARY)?;
    }
    Ok(())
}

fn within(field: impl Into<String>, value: usize, bounds: RangeInclusive<usize>) -> Checked {
    if bounds.contains(&value) { Ok(()) } else { Err(out_of_bounds(field, value, range(&bounds))) }
}

fn finite(field: impl Into<String>, value: f64) -> Checked {
    if value.is_finite() { Ok(()) } else { Err(out_of_bounds(field, value, "a finite number")) }
}

fn positive(field: impl Into<String>, value: f64) -> Checked {
    let valid = value.is_finite() && value > 0.0;
    if valid { Ok(()) } else { Err(out_of_bounds(field, value, "a finite number above 0")) }
}

fn not_negative(field: impl Into<String>, value: f64) -> Checked {
    let valid = value.is_finite() && value >= 0.0;
    if valid { Ok(()) } else { Err(out_of_bounds(field, value, "a finite number of 0 or more")) }
}

fn range(bounds: &RangeInclusive<usize>) -> String {
    format!("from {} to {}", bounds.start(), bounds.end())
}

fn out_of_bounds(field: impl Into<String>, found: impl Display, expected: impl Into<String>) -> OutOfBounds {
    OutOfBounds { field: field.into(), found: found.to_string(), expected: expected.into() }
}

#[cfg(test)]
mod tests {
    use super::super::verify::tests::engine;
    use super::*;
    use crate::manifest::{InvalidManifest, SlidingWindow};

    /// The field that is refused after `change`, in a manifest whose profile id fits.
    fn refused(change: impl FnOnce(&mut Manifest)) -> String {
        let (_, mut manifest) = engine();
        change(&mut manifest);
        manifest.profile.id = manifest.profile_id().unwrap();
        let text = serde_saphyr::to_string(&manifest).unwrap();
        match Manifest::parse(&text).unwrap_err() {
            InvalidManifest::OutOfBounds(error) => error.field,
            other => panic!("{other}"),
        }
    }

    #[test]
    fn sizes_that_overflow_are_refused_before_anything_is_opened() {
        assert_eq!(refused(|m| m.model.hidden_size = (1 << 62) + 192), "model.hidden_size");
        assert_eq!(refused(|m| m.model.num_heads = (1 << 62) + 6), "model.num_heads");
        assert_eq!(refused(|m| m.model.num_layers = 1_000_000_000), "model.num_layers");
        assert_eq!(refused(|m| m.model.vocab_size = usize::MAX), "model.vocab_size");
        assert_eq!(refused(|m| m.limits.max_num_tokens = usize::MAX), "limits.max_num_tokens");
        let heads = |m: &mut Manifest| (m.model.num_heads, m.model.head_dim) = (1 << 16, 1 << 16);
        assert_eq!(refused(heads), "model.num_heads times model.head_dim");
        let layer = |width| crate::manifest::HiddenLayer {
            width,
            bias: false,
            activation: Default::default(),
            norm_eps: None,
        };
        assert_eq!(refused(|m| m.head.hidden = vec![layer(usize::MAX)]), "head.hidden.width");
        assert_eq!(refused(|m| m.head.hidden = vec![layer(1); 65]), "the number of layers in head.hidden");
    }

    #[test]
    fn zeros_and_heads_that_do_not_divide_are_refused() {
        assert_eq!(refused(|m| m.model.hidden_size = 0), "model.hidden_size");
        assert_eq!(refused(|m| m.model.num_kv_heads = 0), "model.num_kv_heads");
        assert_eq!(refused(|m| m.model.num_kv_heads = 3), "model.num_kv_heads");
        assert_eq!(refused(|m| m.model.head_dim = 0), "model.head_dim");
        assert_eq!(refused(|m| m.limits.max_seq_len = 0), "limits.max_seq_len");
        assert_eq!(refused(|m| m.model.num_layers = 0), "model.num_layers");
        assert_eq!(
            refused(|m| m.model.variant.rotary_dim = Some(m.model.head_dim + 1)),
            "model.variant.rotary_dim"
        );
    }

    #[test]
    fn factors_that_would_turn_scores_into_nan_are_refused() {
        assert_eq!(refused(|m| m.model.rope.theta = f64::INFINITY), "model.rope.theta");
        assert_eq!(refused(|m| m.model.rope.theta = 1.0), "model.rope.theta");
        assert_eq!(
            refused(|m| m.model.rope.scaling = RopeScaling::Linear { factor: 0.0 }),
            "model.rope.scaling.factor"
        );
        assert_eq!(refused(|m| m.model.norm_eps = f32::NAN), "model.norm_eps");
        assert_eq!(refused(|m| m.head.softcap = Some(f32::NAN)), "head.softcap");
        let field = "model.variant.attention_softcap";
        assert_eq!(refused(|m| m.model.variant.attention_softcap = Some(f32::NAN)), field);
        assert_eq!(refused(|m| m.model.variant.attention_softcap = Some(0.0)), field);
    }

    #[test]
    fn a_longrope_has_a_factor_above_0_for_each_frequency() {
        let with = |short_factor: Vec<f64>| {
            refused(|m| {
                let long_factor = vec![2.0; m.model.head_dim / 2];
                m.model.rope.scaling = RopeScaling::LongRope {
                    short_factor,
                    long_factor,
                    attention_factor: 1.0,
                    original_max_position_embeddings: 8,
                };
            })
        };
        assert_eq!(with(vec![0.0]), "model.rope.scaling.short_factor");
        assert_eq!(with(vec![1.0]), "the number of short factors in model.rope.scaling");
    }

    #[test]
    fn experts_are_no_more_than_there_are_and_in_layers_that_exist() {
        let with = |change: fn(&mut Experts)| {
            refused(|m| {
                let mut experts = Experts {
                    count: 4,
                    active: 2,
                    intermediate_size: 8,
                    normalized: true,
                    layers: vec![0],
                    shared: None,
                };
                change(&mut experts);
                m.model.variant.experts = Some(experts);
            })
        };
        assert_eq!(with(|experts| experts.active = 5), "model.variant.experts.active");
        assert_eq!(with(|experts| experts.count = usize::MAX), "model.variant.experts.count");
        assert_eq!(with(|experts| experts.layers = vec![99]), "model.variant.experts.layers");
    }

    #[test]
    fn encoders_are_read_at_the_first_token_and_take_whole_texts() {
        let parts = Bidirectional { sum_norms: true, final_norm: false, segments: None, relative: None };
        let encoder = |m: &mut Manifest| {
            m.model.variant.bidirectional = Some(parts);
            m.head.pooling = Pooling::FirstToken;
        };
        assert_eq!(refused(|m| m.model.variant.bidirectional = Some(parts)), "head.pooling");
        assert_eq!(refused(|m| m.head.pooling = Pooling::Mean), "head.pooling");
        let short = |m: &mut Manifest| {
            encoder(m);
            m.limits.max_num_tokens = m.limits.max_seq_len - 1;
        };
        assert_eq!(refused(short), "limits.max_num_tokens");
    }

    #[test]
    fn windows_name_layers_that_exist() {
        let window = SlidingWindow { keys: 8, layers: vec![3], rope: None };
        assert_eq!(
            refused(|m| m.model.variant.sliding_window = Some(window)),
            "model.variant.sliding_window.layers"
        );
    }
}
