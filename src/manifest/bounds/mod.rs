//! Bounds of the manifest's numbers. An engine directory may come from a stranger: no number in it may lead the engine
//! to divide by zero, to compute a size that overflows, or to loop for hours before it finds that a tensor is missing.

mod model;
mod number;

pub use self::number::OutOfBounds;
use self::number::{
    Checked, RANKS, TOKENS, VOCABULARY, WIDTH, finite, not_negative, out_of_bounds, positive, range, within,
};
use super::judge::MAX_QUESTIONS;
use super::{BuildLimits, Gating, GpuTarget, Judge, Manifest, ManifestHead, Pooling, Target};

/// Classes that an objective's values may be divided into.
const MAX_CLASSES: usize = 1024;
/// Tokens that may follow each step.
const MAX_STEP_END: usize = 64;

/// Checks every number that sizes or divides something.
pub(super) fn check(manifest: &Manifest) -> Checked {
    model::check(&manifest.model)?;
    check_limits(&manifest.limits)?;
    check_head(&manifest.head)?;
    check_whole_texts(manifest)?;
    if let Target::TensorrtLlm(gpus) = &manifest.target {
        check_gpus(gpus)?;
    }
    let steps = manifest.prompt.steps.as_ref().map(|steps| &steps.ids);
    within("the number of prompt.steps.ids", steps.map_or(1, Vec::len), 1..=MAX_STEP_END)?;
    for (field, tokens) in
        [("prompt.suffix", &manifest.prompt.suffix), ("prompt.end_tokens", &manifest.prompt.end_tokens)]
            .into_iter()
            .chain(steps.map(|ids| ("prompt.steps.ids", ids)))
    {
        if let Some(token) = tokens.iter().find(|&&token| token as usize > *VOCABULARY.end()) {
            return Err(out_of_bounds(field, token, range(&(0..=*VOCABULARY.end()))));
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

fn check_limits(limits: &BuildLimits) -> Checked {
    within("limits.max_seq_len", limits.max_seq_len, TOKENS)?;
    within("limits.max_batch_size", limits.max_batch_size, TOKENS)?;
    within("limits.max_num_tokens", limits.max_num_tokens, TOKENS)
}

fn check_head(head: &ManifestHead) -> Checked {
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
fn check_judge(head: &ManifestHead, judge: &Judge) -> Checked {
    let count = judge.questions.len();
    within("the number of head.judge.questions", count, 1..=MAX_QUESTIONS)?;
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
    within("head.gating.classes", gating.classes, 1..=MAX_CLASSES)?;
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

fn check_gpus(gpus: &GpuTarget) -> Checked {
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

#[cfg(test)]
mod tests {
    use super::super::verify::tests::engine;
    use super::*;
    use crate::manifest::{Bidirectional, Experts, InvalidManifest, RopeScaling, SlidingWindow};

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
    fn experts_and_layers_that_do_not_exist_are_refused() {
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
