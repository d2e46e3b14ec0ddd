//! A layer of a head, in f32 and with sums of a fixed order.

use crate::manifest::HeadActivation;

/// `y = x W^T + bias`.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Linear {
    /// `[outputs, inputs]`.
    pub(super) matrix: Vec<f32>,
    pub(super) inputs: usize,
    /// `[outputs]`, or empty.
    pub(super) bias: Vec<f32>,
}

impl Linear {
    fn outputs(&self) -> usize {
        self.matrix.len() / self.inputs.max(1)
    }

    /// Maps `x`, `[rows, inputs]`, to `[rows, outputs]`.
    pub(super) fn apply(&self, x: &[f32]) -> Vec<f32> {
        let (inputs, outputs) = (self.inputs.max(1), self.outputs());
        let mut y = vec![0.0; x.len() / inputs * outputs];
        // Each row of the matrix is read once for all rows of x: a large matrix does not fit the cache.
        for (output, weights) in self.matrix.chunks_exact(inputs).enumerate() {
            for (row, x) in x.chunks_exact(inputs).enumerate() {
                y[row * outputs + output] = dot(weights, x);
            }
        }
        add_bias(&mut y, &self.bias);
        y
    }
}

/// Adds `bias` to each row of `values`, `[rows, bias.len()]`; nothing if it is empty.
pub(super) fn add_bias(values: &mut [f32], bias: &[f32]) {
    if bias.is_empty() {
        return;
    }
    for row in values.chunks_exact_mut(bias.len()) {
        for (value, bias) in row.iter_mut().zip(bias) {
            *value += bias;
        }
    }
}

/// Replaces negative values by 0.
fn relu(values: &mut [f32]) {
    for value in values {
        // `max` would turn NaN into 0 and so hide it from the check of the scores.
        if *value < 0.0 {
            *value = 0.0;
        }
    }
}

/// Applies an activation to each value. NaN stays NaN.
pub(super) fn activate(activation: HeadActivation, values: &mut [f32]) {
    match activation {
        HeadActivation::None => {}
        HeadActivation::Relu => relu(values),
        HeadActivation::Silu => each(values, |x| x / (1.0 + (-x).exp())),
        HeadActivation::GeluTanh => each(values, gelu_tanh),
        HeadActivation::Selu => each(values, selu),
        HeadActivation::Tanh => each(values, f32::tanh),
        HeadActivation::Gelu => each(values, gelu),
        HeadActivation::LeakyRelu => each(values, |x| if x > 0.0 { x } else { 0.01 * x }),
    }
}

fn each(values: &mut [f32], function: impl Fn(f32) -> f32) {
    for value in values {
        *value = function(*value);
    }
}

fn gelu_tanh(x: f32) -> f32 {
    0.5 * x
        * (1.0
            + (std::f32::consts::FRAC_2_SQRT_PI / std::f32::consts::SQRT_2 * (x + 0.044715 * x * x * x))
                .tanh())
}

/// `x Phi(x)`, with the error function of Abramowitz and Stegun 7.1.26 in f64, which is within 1.5e-7.
fn gelu(x: f32) -> f32 {
    let wide = f64::from(x);
    let size = wide.abs() * std::f64::consts::FRAC_1_SQRT_2;
    let t = 1.0 / (1.0 + 0.327_591_1 * size);
    let polynomial =
        0.254_829_592 + t * (-0.284_496_736 + t * (1.421_413_741 + t * (-1.453_152_027 + t * 1.061_405_429)));
    let tail = 0.5 * polynomial * t * (-size * size).exp();
    let share = if wide < 0.0 { tail } else { 1.0 - tail };
    (wide * share) as f32
}

/// Constants of the SELU paper.
fn selu(x: f32) -> f32 {
    const ALPHA: f32 = 1.673_263_2;
    const SCALE: f32 = 1.050_701;
    SCALE * if x > 0.0 { x } else { ALPHA * x.exp_m1() }
}

/// The dot product, in 16 partial sums that compilers vectorize without changing the order of additions, so
/// that its bits are the same on every processor.
fn dot(a: &[f32], b: &[f32]) -> f32 {
    let ((a, a_rest), (b, b_rest)) = (a.as_chunks::<16>(), b.as_chunks::<16>());
    let mut sums = [0.0f32; 16];
    for (a, b) in a.iter().zip(b) {
        for (sum, (a, b)) in sums.iter_mut().zip(a.iter().zip(b)) {
            *sum += a * b;
        }
    }
    let rest: f32 = a_rest.iter().zip(b_rest).map(|(a, b)| a * b).sum();
    sums.iter().sum::<f32>() + rest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn partial_sums_add_up() {
        for length in [0, 1, 15, 16, 17, 100] {
            let numbers: Vec<f32> = (0..length).map(|number| number as f32).collect();
            let sum: f32 = numbers.iter().map(|number| number * number).sum();
            assert_eq!(dot(&numbers, &numbers), sum);
        }
    }

    #[test]
    fn activations_are_those_of_pytorch() {
        // torch.nn.functional of -2, -0.5, 0, 0.5 and 2.
        for (activation, expected) in [
            (HeadActivation::None, [-2.0, -0.5, 0.0, 0.5, 2.0]),
            (HeadActivation::Relu, [0.0, 0.0, 0.0, 0.5, 2.0]),
            (HeadActivation::Silu, [-0.238_405_84, -0.188_770_34, 0.0, 0.311_229_67, 1.761_594_2]),
            (HeadActivation::GeluTanh, [-0.045_402_3, -0.154_286, 0.0, 0.345_714, 1.954_597_7]),
            (HeadActivation::Selu, [-1.520_166_9, -0.691_758_16, 0.0, 0.525_350_5, 2.101_402]),
            (HeadActivation::Gelu, [-0.045_500_27, -0.154_268_77, 0.0, 0.345_731_23, 1.954_499_7]),
            (HeadActivation::LeakyRelu, [-0.02, -0.005, 0.0, 0.5, 2.0]),
            (HeadActivation::Tanh, [-0.964_027_6, -0.462_117_16, 0.0, 0.462_117_16, 0.964_027_6]),
        ] {
            let mut values = [-2.0, -0.5, 0.0, 0.5, 2.0, f32::NAN];
            activate(activation, &mut values);
            for (value, expected) in values.iter().zip(expected) {
                assert!((value - expected).abs() < 1e-6, "{activation:?}: {value} for {expected}");
            }
            assert!(values[5].is_nan());
        }
    }

    #[test]
    fn rows_have_the_same_bits_together_as_alone() {
        let numbers =
            |count: usize, step: f32| (0..count).map(|i| (i as f32 * step).sin()).collect::<Vec<_>>();
        let layer = Linear { matrix: numbers(5 * 37, 0.7), inputs: 37, bias: numbers(5, 0.1) };
        let x = numbers(9 * 37, 0.3);
        let alone: Vec<f32> = x.chunks(37).flat_map(|row| layer.apply(row)).collect();
        assert_eq!(layer.apply(&x), alone);
    }
}
