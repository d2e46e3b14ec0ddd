//! int8 on models with outlier channels, which trained models have and random ones do not.

use std::collections::BTreeMap;

use assay::builder::Silent;
use assay::builder::cpu::build;
use assay::engine::EngineOptions;
use assay::hardware::Cpu;
use assay::manifest::Dtype;
use assay::reward::Head;
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};

use crate::build_engine::support::{Checkpoint, Tensor};
use crate::support::Driver;

const TEXTS: usize = 96;
const TOKENS: usize = 40;

/// Multiplies some numbers of an F32 tensor.
fn multiply(tensor: &mut Tensor, factor: f32, chosen: impl Fn(usize) -> bool) {
    assert_eq!(tensor.0, safetensors::Dtype::F32);
    for (index, bytes) in tensor.2.as_chunks_mut::<4>().0.iter_mut().enumerate() {
        if chosen(index) {
            *bytes = (f32::from_le_bytes(*bytes) * factor).to_le_bytes();
        }
    }
}

/// Multiplies six channels of each norm before a matrix and eight rows of each `up_proj`, and divides what reads them:
/// the function is the same. `tools/make_outlier_checkpoint.py` does this to large checkpoints.
fn add_outliers(tensors: &mut BTreeMap<String, Tensor>, layers: usize, factor: f32) {
    let mut rng = SmallRng::seed_from_u64(7);
    let mut pick = |count: usize, width: usize| rand::seq::index::sample(&mut rng, width, count).into_vec();
    for layer in 0..layers {
        let name = |part: &str| format!("model.layers.{layer}.{part}.weight");
        let attention = ["self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"];
        for (norm, readers) in [
            ("input_layernorm", &attention[..]),
            ("post_attention_layernorm", &["mlp.gate_proj", "mlp.up_proj"]),
        ] {
            let norm = tensors.get_mut(&name(norm)).unwrap();
            let width = norm.1[0];
            let channels = pick(6, width);
            multiply(norm, factor, |index| channels.contains(&index));
            for reader in readers {
                let matrix = tensors.get_mut(&name(reader)).unwrap();
                multiply(matrix, 1.0 / factor, |index| channels.contains(&(index % width)));
            }
        }
        let up = tensors.get_mut(&name("mlp.up_proj")).unwrap();
        let (ffn, hidden) = (up.1[0], up.1[1]);
        let rows = pick(8, ffn);
        multiply(up, factor, |index| rows.contains(&(index / hidden)));
        let down = tensors.get_mut(&name("mlp.down_proj")).unwrap();
        multiply(down, 1.0 / factor, |index| rows.contains(&(index % ffn)));
    }
}

/// Scores of random texts.
fn scores(checkpoint: &Checkpoint, dtype: Dtype) -> Vec<f32> {
    let mut options = checkpoint.options(dtype);
    options.common.output = checkpoint.beside(&format!("{dtype}"));
    let manifest = build(&options, &Silent).unwrap();
    let mut driver = Driver::start(&options.common.output, &manifest, EngineOptions::default());
    let head = Head::new(&manifest.head);
    let mut rng = SmallRng::seed_from_u64(1);
    let mut score = || {
        let ids: Vec<u32> = (0..TOKENS).map(|_| rng.random_range(0..500)).collect();
        let logits = driver.read(&ids, &head.positions(&ids).unwrap());
        head.scores(&logits).unwrap().pairs[0].1
    };
    (0..TEXTS).map(|_| score()).collect()
}

/// Share of pairs that are ranked alike.
fn alike(ours: &[f32], truth: &[f32]) -> f64 {
    let (mut same, mut pairs) = (0, 0);
    for one in 0..truth.len() {
        for other in 0..one {
            pairs += 1;
            same += usize::from((ours[one] < ours[other]) == (truth[one] < truth[other]));
        }
    }
    f64::from(same as u32) / f64::from(pairs)
}

#[test]
fn int8_ranks_98_of_100_pairs_as_f32_does_in_models_with_outlier_channels() {
    if !Cpu::detect().int8 {
        println!("skipped, this processor does not compute in int8");
        return;
    }
    for factor in [30.0, 100.0] {
        let checkpoint = Checkpoint::copy("qwen2-tiny");
        checkpoint.retensor(|tensors| add_outliers(tensors, 2, factor));
        let share = alike(&scores(&checkpoint, Dtype::Int8), &scores(&checkpoint, Dtype::F32));
        println!("outliers of {factor}: {share:.4} of pairs rank alike in int8");
        assert!(share >= 0.98, "outliers of {factor}: {share}");
    }
}
