//! Quantizes matrices to int8. Each row has its own scale, with which its largest number becomes 127.

use super::convert::each_row;
use super::plan::TensorPlan;
use super::{BuildError, Progress};

/// A quantized matrix: row by row, `values * scales` are about what it was.
pub(super) struct Quantized {
    /// `[rows, columns]`, int8.
    pub(super) values: Vec<u8>,
    /// `[rows]`.
    pub(super) scales: Vec<f32>,
}

/// Quantizes a matrix with rows of `columns` numbers.
///
/// # Errors
/// A file cannot be read, a number is not finite, or the build was interrupted.
pub(super) fn quantize(
    plan: &TensorPlan<'_>,
    columns: usize,
    progress: &dyn Progress,
) -> Result<Quantized, BuildError> {
    let mut quantized = Quantized { values: Vec::new(), scales: Vec::new() };
    let mut multiplied = Vec::new();
    each_row(&plan.sources, columns, progress, |row| {
        multiplied.clear();
        multiplied.extend_from_slice(row);
        plan.multiply_row(quantized.scales.len(), &mut multiplied);
        quantized.push(&multiplied);
    })?;
    Ok(quantized)
}

impl Quantized {
    fn push(&mut self, row: &[f32]) {
        let largest = row.iter().fold(0f32, |largest, value| largest.max(value.abs()));
        let scale = largest / 127.0;
        // A row so small that its scale is subnormal adds nothing to any score.
        let scale = if scale.is_normal() { scale } else { 0.0 };
        let quantize = |value: f32| if scale == 0.0 { 0 } else { (value / scale).round_ties_even() as i8 };
        self.values.extend(row.iter().map(|&value| quantize(value).cast_unsigned()));
        self.scales.push(scale);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_is_rounded_to_127_steps_of_its_largest_number() {
        let mut quantized = Quantized { values: vec![], scales: vec![] };
        for row in [[0.5f32, -1.27, 0.006], [0.0, 0.0, 0.0], [1e-44, 0.0, 0.0]] {
            quantized.push(&row);
        }
        let values: Vec<i8> = quantized.values.iter().map(|value| value.cast_signed()).collect();
        assert_eq!(values, [50, -127, 1, 0, 0, 0, 0, 0, 0]);
        assert!((quantized.scales[0] - 0.01).abs() < 1e-6);
        assert_eq!(quantized.scales[1..], [0.0, 0.0]);
    }
}
