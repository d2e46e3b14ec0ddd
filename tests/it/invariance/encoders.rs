//! The same of encoders, whose texts are computed whole.

use std::cell::RefCell;

use super::{BLOCK, VOCABULARY};
use crate::support::{Batch, Driver, encoder, model, random_encoder};
use assay::engine::{BlockId, EngineOptions};
use assay::hardware::Cpu;
use assay::manifest::{
    Activation, Bidirectional, Dtype, Model, Norm, Pooling, Rope, RopeScaling, SlidingWindow, Variant,
};
use proptest::prelude::*;

/// Texts of an encoder in one iteration have the scores that they have alone.
fn one_score_of_whole_texts(model: Model, pooling: Pooling, dtype: Dtype) {
    if (dtype == Dtype::Bf16 && !Cpu::detect().bf16) || (dtype == Dtype::Int8 && !Cpu::detect().int8) {
        println!("skipped: this processor does not compute in {dtype}");
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let manifest = random_encoder(directory.path(), model, pooling, dtype, 7);
    let options = EngineOptions { threads: Some(2), ..EngineOptions::default() };
    let driver = RefCell::new(Driver::start(directory.path(), &manifest, options));
    let config = ProptestConfig { cases: 16, failure_persistence: None, ..ProptestConfig::default() };
    let text = prop::collection::vec(0..VOCABULARY, 1..330);
    proptest!(config, |(texts in prop::collection::vec(text, 1..9))| {
        let mut driver = driver.borrow_mut();
        let alone: Vec<_> = texts.iter().map(|ids| driver.read(ids, &[0])).collect();
        let (kv_blocks, mut used) = (driver.kv_blocks(), 0);
        let mut batch = Batch::default();
        for ids in &texts {
            let mut fresh = || {
                used += 1;
                ((used * 7919) % kv_blocks) as BlockId
            };
            let blocks: Vec<_> = (0..ids.len().div_ceil(BLOCK)).map(|_| fresh()).collect();
            batch.push(ids, 0, &blocks, &[0]);
        }
        let batched = driver.run(batch.iteration);
        let bits = |logits: &[f32]| logits.iter().map(|score| score.to_bits()).collect::<Vec<_>>();
        for (alone, batched) in alone.iter().zip(&batched) {
            prop_assert!(alone.iter().all(|score| score.is_finite()));
            prop_assert_eq!(bits(alone), bits(batched));
        }
    });
}

/// As DeBERTa and BERT are.
#[test]
fn a_text_of_an_encoder_has_one_score() {
    let mut without_relative = encoder(true);
    if let Some(parts) = &mut without_relative.variant.bidirectional {
        parts.relative = None;
    }
    for model in [encoder(true), encoder(false), without_relative] {
        for dtype in [Dtype::F32, Dtype::Bf16, Dtype::Int8] {
            one_score_of_whole_texts(model.clone(), Pooling::FirstToken, dtype);
        }
    }
}

/// As ModernBERT is, with windows of any width.
#[test]
fn a_text_of_an_encoder_has_one_score_over_the_mean_and_with_windows() {
    for keys in [2, 31, 64, 129, 1000] {
        let mut model = model(72, 104, 3, (3, 3, 24));
        let rope = Rope { theta: 500.0, scaling: RopeScaling::Default };
        model.variant = Variant {
            norm: Norm::Layer,
            activation: Activation::GatedGelu,
            sliding_window: Some(SlidingWindow { keys, layers: vec![1], rope: Some(rope) }),
            bidirectional: Some(Bidirectional {
                sum_norms: false,
                final_norm: true,
                segments: None,
                relative: None,
            }),
            ..Variant::default()
        };
        one_score_of_whole_texts(model.clone(), Pooling::Mean, Dtype::F32);
        one_score_of_whole_texts(model, Pooling::Mean, Dtype::Bf16);
    }
}

#[test]
fn an_encoder_refuses_a_part_of_a_text() {
    let directory = tempfile::tempdir().unwrap();
    let manifest = random_encoder(directory.path(), encoder(true), Pooling::FirstToken, Dtype::F32, 7);
    let mut driver = Driver::start(directory.path(), &manifest, EngineOptions::default());
    let mut batch = Batch::default();
    batch.push_part(40, &[5; 20], 0, &[0, 1], &[0]);
    let error = driver.try_run(batch.iteration).unwrap_err().to_string();
    assert!(error.contains("reads as a whole"), "{error}");
}
