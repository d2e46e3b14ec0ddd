//! A layer of a head, in f32 and with sums of a fixed order.

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
pub(super) fn relu(values: &mut [f32]) {
    for value in values {
        // `max` would turn NaN into 0, and hide it from the check of the scores.
        if *value < 0.0 {
            *value = 0.0;
        }
    }
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
    fn rows_have_the_same_bits_together_as_alone() {
        let numbers =
            |count: usize, step: f32| (0..count).map(|i| (i as f32 * step).sin()).collect::<Vec<_>>();
        let layer = Linear { matrix: numbers(5 * 37, 0.7), inputs: 37, bias: numbers(5, 0.1) };
        let x = numbers(9 * 37, 0.3);
        let alone: Vec<f32> = x.chunks(37).flat_map(|row| layer.apply(row)).collect();
        assert_eq!(layer.apply(&x), alone);
    }
}
