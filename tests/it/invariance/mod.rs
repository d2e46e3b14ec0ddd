//! A text has the same score at each of its tokens, bit for bit: alone, in any batch, in any chunks, with a shared
//! prefix or without.

mod encoders;

use std::cell::RefCell;
use std::path::Path;

use crate::support::{Batch, Driver, model, random_engine, random_engine_with};
use assay::engine::{BlockId, EngineOptions, LengthClasses};
use assay::hardware::Cpu;
use assay::manifest::{
    Activation, Dtype, Experts, Gating, HeadActivation, HiddenLayer, Manifest, ManifestHead, Model, Norm,
    QkNorm, QueryGrowth, Rope, RopeScaling, SharedExpert, SlidingWindow, Variant,
};
use proptest::prelude::*;

const BLOCK: usize = 16;

const VOCABULARY: u32 = 300;

/// A text that starts with full blocks of another text and goes on with its own tokens.
#[derive(Clone, Debug)]
struct SharedText {
    parent: prop::sample::Index,
    shared_blocks: usize,
    own: Vec<u32>,
    /// Where it is cut into chunks.
    cuts: Vec<prop::sample::Index>,
    same_iteration: bool,
    /// Where its own tokens are read, besides the last.
    reads: Vec<prop::sample::Index>,
}

fn text() -> impl Strategy<Value = SharedText> {
    (
        any::<prop::sample::Index>(),
        0usize..6,
        prop::collection::vec(0..VOCABULARY, 1..150),
        prop::collection::vec(any::<prop::sample::Index>(), 0..4),
        any::<bool>(),
        prop::collection::vec(any::<prop::sample::Index>(), 0..5),
    )
        .prop_map(|(parent, shared_blocks, own, cuts, same_iteration, reads)| SharedText {
            parent,
            shared_blocks,
            own,
            cuts,
            same_iteration,
            reads,
        })
}

/// A text's ids and block table, and how many of its tokens another text computes.
struct Laid {
    ids: Vec<u32>,
    blocks: Vec<BlockId>,
    reused: usize,
    /// Positions read, ascending.
    reads: Vec<usize>,
}

/// Gives every text its blocks; those of a shared prefix belong to the text that has it first. Block numbers are
/// spread so that no table is in order.
fn lay_out(texts: &[SharedText], kv_blocks: usize, classes: LengthClasses) -> Vec<Laid> {
    let mut laid: Vec<Laid> = Vec::new();
    let mut used = 0;
    let mut fresh = || {
        used += 1;
        assert!(used <= kv_blocks);
        ((used * 7919) % kv_blocks) as BlockId
    };
    for text in texts {
        let (mut ids, mut blocks) = (Vec::new(), Vec::new());
        if !laid.is_empty() {
            let parent = text.parent.get(&laid);
            let shared = text.shared_blocks.min(parent.ids.len() / BLOCK);
            ids.extend_from_slice(&parent.ids[..shared * BLOCK]);
            if classes.class_of(parent.ids.len()) == classes.class_of(ids.len() + text.own.len()) {
                blocks.extend_from_slice(&parent.blocks[..shared]);
            }
        }
        let reused = blocks.len() * BLOCK;
        let prefix = ids.len();
        ids.extend_from_slice(&text.own);
        blocks.extend((blocks.len()..ids.len().div_ceil(BLOCK)).map(|_| fresh()));
        let mut reads: Vec<_> = text.reads.iter().map(|read| prefix + read.index(text.own.len())).collect();
        reads.push(ids.len() - 1);
        reads.sort_unstable();
        reads.dedup();
        laid.push(Laid { ids, blocks, reused, reads });
    }
    laid
}

/// Chunks of one text: start, end and the index of the iteration.
fn chunks(text: &SharedText, laid: &Laid, first: usize) -> Vec<(usize, usize, usize)> {
    let own = laid.ids.len() - laid.reused;
    let mut cuts: Vec<_> = text.cuts.iter().map(|cut| laid.reused + cut.index(own)).collect();
    cuts.extend([laid.reused, laid.ids.len()]);
    cuts.sort_unstable();
    cuts.dedup();
    let step = usize::from(!text.same_iteration);
    cuts.windows(2).enumerate().map(|(n, cut)| (cut[0], cut[1], first + n * step)).collect()
}

fn check(driver: &mut Driver, texts: &[SharedText], classes: LengthClasses) -> Result<(), TestCaseError> {
    let laid = lay_out(texts, driver.kv_blocks(), classes);
    // Each text begins one iteration after its predecessor's first at the latest: a prefix is computed
    // earlier in the same iteration, or in one before.
    let mut iterations: Vec<Vec<(usize, usize, usize)>> = Vec::new();
    let mut first = 0;
    for (index, (text, at)) in texts.iter().zip(&laid).enumerate() {
        let plan = chunks(text, at, first);
        let last = plan.last().map_or(first, |chunk| chunk.2);
        iterations.resize(iterations.len().max(last + 1), Vec::new());
        for (begin, end, iteration) in plan {
            iterations[iteration].push((index, begin, end));
        }
        first = last;
    }
    let mut batched = vec![Vec::new(); texts.len()];
    for iteration in iterations {
        let mut batch = Batch::default();
        let mut reading = Vec::new();
        for (index, begin, end) in iteration {
            let at = &laid[index];
            let places = at.reads.iter().filter(|read| (begin..end).contains(read));
            let reads: Vec<_> = places.map(|read| read - begin).collect();
            let blocks = &at.blocks[..end.div_ceil(BLOCK)];
            batch.push_part(at.ids.len(), &at.ids[begin..end], begin, blocks, &reads);
            if !reads.is_empty() {
                reading.push(index);
            }
        }
        for (index, logits) in reading.into_iter().zip(driver.run(batch.iteration)) {
            batched[index].extend(logits);
        }
    }
    for (index, at) in laid.iter().enumerate() {
        let alone = driver.read(&at.ids, &at.reads);
        prop_assert!(alone.iter().all(|score| score.is_finite()));
        let bits = |logits: &[f32]| logits.iter().map(|score| score.to_bits()).collect::<Vec<_>>();
        prop_assert_eq!(bits(&alone), bits(&batched[index]), "text {} of {} ids", index, at.ids.len());
        let last = driver.score(&at.ids);
        prop_assert!(bits(&alone).ends_with(&bits(&last)), "reading more changes the last score");
    }
    Ok(())
}

fn one_score(dtype: Dtype, hidden: usize, ffn: usize, heads: (usize, usize, usize)) {
    one_score_of(model(hidden, ffn, 2, heads), dtype);
}

fn one_score_of(model: Model, dtype: Dtype) {
    if (dtype == Dtype::Bf16 && !Cpu::detect().bf16) || (dtype == Dtype::Int8 && !Cpu::detect().int8) {
        println!("skipped: this processor does not compute in {dtype}");
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let manifest = random_engine(directory.path(), model, dtype, 7);
    let classes = match manifest.model.rope.scaling {
        RopeScaling::Dynamic { max_position_embeddings: usual, .. } => LengthClasses::EachBeyond { usual },
        RopeScaling::LongRope { original_max_position_embeddings: usual, .. } => LengthClasses::Two { usual },
        _ => LengthClasses::Alike,
    };
    one_score_within(directory.path(), &manifest, classes);
}

fn one_score_from(directory: &Path, manifest: &Manifest) {
    one_score_within(directory, manifest, LengthClasses::Alike);
}

/// Only texts of one class share blocks.
fn one_score_within(directory: &Path, manifest: &Manifest, classes: LengthClasses) {
    let options = EngineOptions { threads: Some(2), ..EngineOptions::default() };
    let driver = RefCell::new(Driver::start(directory, manifest, options));
    let config = ProptestConfig { cases: 24, failure_persistence: None, ..ProptestConfig::default() };
    proptest!(config, |(texts in prop::collection::vec(text(), 1..12))| {
        check(&mut driver.borrow_mut(), &texts, classes)?;
    });
}

#[test]
fn a_text_has_one_f32_score() {
    one_score(Dtype::F32, 64, 176, (4, 2, 16));
}

#[test]
fn a_text_has_one_bf16_score() {
    one_score(Dtype::Bf16, 64, 176, (4, 2, 16));
}

#[test]
fn a_text_has_one_int8_score() {
    one_score(Dtype::Int8, 64, 176, (4, 2, 16));
    one_score(Dtype::Int8, 72, 88, (3, 3, 24));
}

#[test]
fn a_text_has_one_score_with_seven_heads_to_a_key() {
    one_score(Dtype::Bf16, 112, 208, (7, 1, 64));
}

#[test]
fn a_text_has_one_score_with_head_sizes_that_do_not_fill_a_register() {
    one_score(Dtype::F32, 72, 88, (3, 3, 24));
    one_score(Dtype::Bf16, 72, 88, (3, 3, 24));
}

#[test]
fn a_text_has_one_score_with_the_largest_heads() {
    one_score(Dtype::Bf16, 128, 96, (2, 1, 256));
}

#[test]
fn a_text_has_one_score_with_windows_of_any_width() {
    for keys in [1, 15, 45, 64, 65, 128] {
        let mut model = model(64, 96, 3, (4, 2, 16));
        model.variant.sliding_window = Some(SlidingWindow { keys, layers: vec![0, 2], rope: None });
        one_score_of(model.clone(), Dtype::F32);
        one_score_of(model, Dtype::Bf16);
    }
}

/// As in GPT-NeoX and Cohere, and as in Granite.
#[test]
fn a_text_has_one_score_with_branches_side_by_side_or_scaled() {
    let mut side_by_side = model(72, 104, 3, (3, 3, 24));
    side_by_side.mlp_bias = true;
    side_by_side.variant = Variant {
        norm: Norm::Layer,
        activation: Activation::Gelu,
        parallel_residual: true,
        rotary_dim: Some(6),
        ..Variant::default()
    };
    let mut scaled = model(64, 96, 3, (4, 2, 16));
    scaled.variant.residual_scale = Some(0.3);
    for model in [side_by_side, scaled] {
        for dtype in [Dtype::F32, Dtype::Bf16, Dtype::Int8] {
            one_score_of(model.clone(), dtype);
        }
    }
}

/// Whoever else chooses a token's experts, and however many.
#[test]
fn a_text_has_one_score_with_experts_that_others_share() {
    let experts = |count, active, width, shared: Option<usize>| Experts {
        count,
        active,
        intermediate_size: width,
        normalized: shared.is_none(),
        layers: vec![0, 2],
        shared: shared.map(|intermediate_size| SharedExpert { intermediate_size }),
    };
    for experts in [experts(4, 2, 56, None), experts(37, 5, 24, Some(72)), experts(3, 3, 40, None)] {
        let mut model = model(64, 96, 3, (4, 2, 16));
        model.variant.experts = Some(experts);
        for dtype in [Dtype::F32, Dtype::Bf16, Dtype::Int8] {
            one_score_of(model.clone(), dtype);
        }
    }
}

/// Rotations that depend on the length of the whole text.
#[test]
fn a_text_has_one_score_with_other_frequencies_if_it_is_long() {
    let dynamic = RopeScaling::Dynamic { factor: 2.0, max_position_embeddings: 75 };
    let long_rope = RopeScaling::LongRope {
        short_factor: vec![1.0, 1.1, 1.3, 1.0, 2.0, 1.0, 1.0, 3.0],
        long_factor: vec![1.0, 2.0, 4.0, 5.0, 6.0, 7.0, 8.0, 9.0],
        attention_factor: 1.2,
        original_max_position_embeddings: 75,
    };
    for scaling in [dynamic, long_rope] {
        let mut model = model(64, 96, 3, (4, 2, 16));
        model.rope.scaling = scaling;
        one_score_of(model.clone(), Dtype::F32);
        one_score_of(model, Dtype::Bf16);
    }
}

/// Layers above the engine's products, computed in Rust.
#[test]
fn a_text_has_one_score_with_heads_of_several_layers() {
    let attributes = vec!["a".to_owned(), "b".to_owned()];
    let layer = HiddenLayer { width: 40, bias: true, activation: HeadActivation::Relu, norm_eps: None };
    let two_layers = ManifestHead { attributes, bias: true, hidden: vec![layer], ..ManifestHead::default() };
    let gating = Gating {
        pattern: vec![1],
        hidden: vec![50, 33],
        bias: true,
        activation: HeadActivation::Relu,
        plain: false,
        classes: 1,
        temperature: 1.0,
        scale: 1.0,
        transform: vec![vec![0.0; 3]; 3],
    };
    let gated = ManifestHead { gating: Some(gating), ..ManifestHead::default() };
    for head in [two_layers, gated] {
        let directory = tempfile::tempdir().unwrap();
        let model = model(64, 96, 2, (4, 2, 16));
        let manifest = random_engine_with(directory.path(), model, head, Dtype::F32, 7);
        one_score_from(directory.path(), &manifest);
    }
}

/// As in Gemma: norms on heads and branches, capped scores, windows with frequencies of their own.
#[test]
fn a_text_has_one_score_with_every_norm_and_a_cap() {
    let mut model = model(64, 88, 3, (4, 1, 24));
    let rope = Rope { theta: 500.0, scaling: RopeScaling::Default };
    model.variant = Variant {
        qk_norm: QkNorm::EachHead,
        post_norms: true,
        activation: Activation::GeluTanh,
        embedding_scale: 8.0,
        attention_scale: Some(0.3),
        attention_softcap: Some(3.0),
        sliding_window: Some(SlidingWindow { keys: 29, layers: vec![0, 1], rope: Some(rope) }),
        ..Variant::default()
    };
    one_score_of(model.clone(), Dtype::F32);
    one_score_of(model, Dtype::Bf16);
}

/// As in OLMo-2: norms only over the outputs of blocks, and over all heads together.
#[test]
fn a_text_has_one_score_with_norms_over_outputs_and_over_all_heads() {
    let mut model = model(72, 88, 3, (6, 3, 24));
    model.variant =
        Variant { qk_norm: QkNorm::AllHeads, pre_norms: false, post_norms: true, ..Variant::default() };
    for dtype in [Dtype::F32, Dtype::Bf16, Dtype::Int8] {
        one_score_of(model.clone(), dtype);
    }
}

/// As in Command R+, Command R7B and Ministral 3: layer norms over each head with weights of its own, layers that are not
/// rotated, queries that grow with their position.
#[test]
fn a_text_has_one_score_with_norms_by_head_unrotated_layers_and_growing_queries() {
    let mut model = model(72, 104, 3, (6, 3, 24));
    let rope = std::mem::replace(&mut model.rope.scaling, RopeScaling::Unrotated);
    let windowed = Rope { theta: 500.0, scaling: rope };
    model.variant = Variant {
        norm: Norm::Layer,
        qk_norm: QkNorm::OwnHead,
        parallel_residual: true,
        query_growth: Some(QueryGrowth { beta: 0.4, length: 21 }),
        sliding_window: Some(SlidingWindow { keys: 29, layers: vec![0, 2], rope: Some(windowed) }),
        ..Variant::default()
    };
    for dtype in [Dtype::F32, Dtype::Bf16, Dtype::Int8] {
        one_score_of(model.clone(), dtype);
    }
}

/// As in Nemotron: layer norms, no gate, half of each head rotated.
#[test]
fn a_text_has_one_score_with_layer_norms_and_partial_rotation() {
    let mut model = model(72, 104, 2, (3, 3, 24));
    model.mlp_bias = true;
    model.variant = Variant {
        norm: Norm::Layer,
        activation: Activation::Relu2,
        rotary_dim: Some(12),
        ..Variant::default()
    };
    one_score_of(model.clone(), Dtype::F32);
    one_score_of(model, Dtype::Bf16);
}
