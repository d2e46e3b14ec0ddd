use std::path::Path;

use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};

use super::*;
use crate::builder::int8::{Quantized, quantize};
use crate::builder::options::BuildOptions;
use crate::builder::source::Source;
use crate::builder::{Silent, convert};
use crate::manifest::Dtype;

/// Outliers among the channels of a norm, and among the rows of an up projection.
const NORM_CHANNELS: [usize; 6] = [3, 17, 40, 41, 77, 100];
const UP_ROWS: [usize; 8] = [0, 9, 30, 66, 67, 120, 150, 207];

/// `qwen2-tiny`, in whose first layer outliers are `factor` times as large and what reads them is divided.
fn with_outliers(factor: f32) -> Source {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/checkpoints/qwen2-tiny");
    let mut source = Source::open(&BuildOptions::new(path, "unused")).unwrap();
    let mut multiply = |name: &str, by: f32, chosen: &[usize], of_rows: bool| {
        let name = format!("model.layers.0.{name}.weight");
        let tensor = source.checkpoint.tensor(&name).unwrap();
        let (shape, mut numbers) = (tensor.shape.to_vec(), convert::values(&tensor).unwrap());
        let columns = *shape.last().unwrap();
        for (index, number) in numbers.iter_mut().enumerate() {
            if chosen.contains(&(if of_rows { index / columns } else { index % columns })) {
                *number *= by;
            }
        }
        source.checkpoint.insert_computed(name, shape, numbers);
    };
    multiply("input_layernorm", factor, &NORM_CHANNELS, false);
    for reader in ["q_proj", "k_proj", "v_proj"] {
        multiply(&format!("self_attn.{reader}"), 1.0 / factor, &NORM_CHANNELS, false);
    }
    multiply("mlp.up_proj", factor, &UP_ROWS, true);
    multiply("mlp.down_proj", 1.0 / factor, &UP_ROWS, false);
    source
}

fn find<'p, 'a>(plans: &'p [TensorPlan<'a>], name: &str) -> &'p TensorPlan<'a> {
    plans.iter().find(|plan| plan.name == format!("layers.0.{name}")).unwrap()
}

/// The numbers that the engine gets, row by row.
fn rows(plan: &TensorPlan<'_>, columns: usize) -> Vec<Vec<f32>> {
    let mut rows = Vec::new();
    each_row(&plan.sources, columns, &Silent, |row| {
        let mut row = row.to_vec();
        plan.multiply_row(rows.len(), &mut row);
        rows.push(row);
    })
    .unwrap();
    rows
}

fn product(rows: &[Vec<f32>], inputs: &[f32]) -> Vec<f32> {
    rows.iter().map(|row| row.iter().zip(inputs).map(|(weight, input)| weight * input).sum()).collect()
}

/// How far int8 is from the exact product, relative to its size.
fn error(plan: &TensorPlan<'_>, inputs: &[f32]) -> f32 {
    let exact = product(&rows(plan, inputs.len()), inputs);
    let Quantized { values, scales } = quantize(plan, inputs.len(), &Silent).unwrap();
    let quantized = values.chunks(inputs.len()).zip(&scales);
    let weights: Vec<Vec<f32>> = quantized
        .map(|(row, scale)| row.iter().map(|value| f32::from(value.cast_signed()) * scale).collect())
        .collect();
    let step = inputs.iter().fold(0f32, |most, input| most.max(input.abs())) / 127.0;
    let rounded: Vec<f32> = inputs.iter().map(|input| (input / step).round_ties_even() * step).collect();
    let squares = |numbers: &mut dyn Iterator<Item = f32>| numbers.map(|number| number * number).sum::<f32>();
    let off = product(&weights, &rounded);
    let distance = squares(&mut off.iter().zip(&exact).map(|(one, other)| one - other));
    (distance / squares(&mut exact.iter().copied())).sqrt()
}

/// Errors of the projections of queries, keys and values, and of the down projection.
fn errors(factor: f32, balanced: bool) -> [f32; 2] {
    let source = with_outliers(factor);
    let model = &source.config.model;
    let mut plans = source.plan(Dtype::Int8, false).unwrap().weights;
    if balanced {
        balance(&mut plans, model, &Silent).unwrap();
    }
    let mut rng = SmallRng::seed_from_u64(3);
    let mut normed = |norm: &str| -> Vec<f32> {
        let weights = rows(find(&plans, norm), model.hidden_size).remove(0);
        weights.into_iter().map(|weight| weight * rng.random_range(-1.7..1.7f32)).collect()
    };
    let (attention, network) = (normed("input_norm"), normed("post_norm"));
    let ups = product(&rows(find(&plans, "gate_up"), model.hidden_size), &network)
        .split_off(model.intermediate_size);
    [error(find(&plans, "qkv"), &attention), error(find(&plans, "down"), &ups)]
}

#[test]
fn outlier_channels_cost_int8_no_accuracy() {
    let even = errors(1.0, false);
    for factor in [30.0, 100.0] {
        let (plain, balanced) = (errors(factor, false), errors(factor, true));
        println!(
            "outliers of {factor}: {plain:?} in plain int8, {balanced:?} evened out, {even:?} without them"
        );
        for ((plain, balanced), even) in plain.into_iter().zip(balanced).zip(even) {
            assert!(plain > 2.5 * even, "the test sees no outliers: {plain} and {even}");
            assert!(balanced < 1.5 * even, "{balanced} with outliers of {factor}, {even} without");
        }
    }
}

#[test]
fn the_build_counts_the_channels_that_it_evens_out() {
    let source = with_outliers(100.0);
    let mut plans = source.plan(Dtype::Int8, false).unwrap().weights;
    let balanced = balance(&mut plans, &source.config.model, &Silent).unwrap();
    assert!(balanced.norms >= NORM_CHANNELS.len() && balanced.networks >= UP_ROWS.len(), "{balanced:?}");
    assert!(balanced.largest >= 64.0, "{balanced:?}");
    let line = balanced.describe();
    assert!(line.contains(&format!("{} of norms", balanced.norms)), "{line}");
}

#[test]
fn factors_are_powers_of_two_and_even_channels_keep_theirs() {
    assert_eq!(
        balancing_factors(&[1.0, 1.1, 0.9, 900.0, 0.0], &[0.5, 0.4, 0.6, 0.5 / 30.0, 0.0]),
        [1.0, 1.0, 1.0, 32.0, 1.0]
    );
    assert_eq!(balancing_factors(&[1e10, 1.0, 1.0], &[1e-10, 1.0, 1.0])[0], 1024.0);
    assert_eq!(balancing_factors(&[0.0; 2], &[1.0; 2]), [1.0; 2]);
}
