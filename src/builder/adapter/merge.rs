//! The arithmetic of merging: a matrix of the base model and its low-rank change, in f32.

use std::ops::Range;
use std::sync::OnceLock;

use crate::builder::BuildError;
use crate::builder::stored::Stored;

/// Rows of a matrix that are read at a time for the norms of its columns.
const ROWS_AT_ONCE: usize = 256;

/// What an adapter does to one tensor.
pub(in crate::builder) struct Change {
    pub(super) factors: Factors,
    pub(super) scale: f32,
    /// DoRA's: the length of each output's weights.
    pub(super) magnitude: Option<Stored>,
}

/// What is added, before it is scaled.
#[derive(Clone)]
pub(super) enum Factors {
    /// `b a` for `a`, `[rank, inputs]`, and `b`, `[outputs, rank]`, or its transpose.
    LowRank {
        a: Stored,
        b: Stored,
        axes: Axes,
    },
    Bias(Stored),
}

/// What the rows and columns of a stored matrix are.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(in crate::builder) enum Axes {
    /// `[outputs, inputs]`: linear layers.
    OutputsByInputs,
    /// `[inputs, outputs]`: embeddings, and the layers of families that store matrices transposed.
    InputsByOutputs,
}

impl Change {
    /// The same for a matrix of a layer with these axes. Those of an embedding are known.
    pub(in crate::builder) fn laid_out(&self, axes: Axes) -> Self {
        let factors = match self.factors.clone() {
            Factors::LowRank { a, b, axes: Axes::OutputsByInputs } => Factors::LowRank { a, b, axes },
            factors => factors,
        };
        Self { factors, scale: self.scale, magnitude: self.magnitude.clone() }
    }

    /// The change of the tensor `name` of the base model.
    ///
    /// # Errors
    /// The shapes or the types do not fit.
    pub(in crate::builder) fn merge(&self, name: &str, base: &Stored) -> Result<Merge, BuildError> {
        let Self { factors, scale, magnitude } = self;
        let (path, shape) = match factors {
            Factors::LowRank { a, b, axes: Axes::OutputsByInputs } => {
                (b.path(), vec![b.shape[0], a.shape[1]])
            }
            Factors::LowRank { a, b, axes: Axes::InputsByOutputs } => {
                (b.path(), vec![a.shape[1], b.shape[0]])
            }
            Factors::Bias(bias) => (bias.path(), bias.shape.clone()),
        };
        if shape != base.shape {
            let reason = format!(
                "is changed by the adapter in the shape {shape:?}, and has the shape {:?} in {}; the adapter was \
                 trained on another base model",
                base.shape,
                base.path().display()
            );
            return Err(BuildError::tensor(path, name, reason));
        }
        let length = match factors {
            Factors::LowRank { axes: Axes::InputsByOutputs, .. } => shape[1],
            _ => shape[0],
        };
        if let Some(magnitude) = magnitude.as_ref().filter(|magnitude| magnitude.elements() != length) {
            let reason =
                format!("has a lora_magnitude_vector of {} numbers, not {length}", magnitude.elements());
            return Err(BuildError::tensor(path, name, reason));
        }
        Ok(Merge {
            name: name.to_owned(),
            factors: factors.clone(),
            scale: *scale,
            magnitude: magnitude.clone(),
            column_norms: OnceLock::new(),
        })
    }
}

/// A change that fits its tensor.
pub(in crate::builder) struct Merge {
    name: String,
    factors: Factors,
    scale: f32,
    magnitude: Option<Stored>,
    /// Lengths of the columns of a whole matrix, computed when they are first needed.
    column_norms: OnceLock<Vec<f32>>,
}

impl Merge {
    /// Some rows and columns of the merged tensor, row-major.
    ///
    /// # Errors
    /// A file cannot be read.
    pub(in crate::builder) fn rows(
        &self,
        base: &Stored,
        rows: Range<usize>,
        columns: Range<usize>,
    ) -> Result<Vec<f32>, BuildError> {
        let whole = 0..base.columns();
        let Some(magnitude) = &self.magnitude else { return self.sum(base, &rows, &columns) };
        if let Factors::LowRank { axes: Axes::InputsByOutputs, .. } = self.factors {
            let norms = self.column_norms(base)?;
            let lengths = self.floats(magnitude, columns.clone())?;
            let mut merged = self.sum(base, &rows, &columns)?;
            for row in merged.chunks_mut(columns.len()) {
                for ((value, length), norm) in row.iter_mut().zip(&lengths).zip(&norms[columns.clone()]) {
                    *value *= length / norm;
                }
            }
            return Ok(merged);
        }
        let lengths = self.floats(magnitude, rows.clone())?;
        let merged = self.sum(base, &rows, &whole)?;
        let mut chosen = Vec::with_capacity(rows.len() * columns.len());
        for (row, length) in merged.chunks(whole.len()).zip(&lengths) {
            let factor = length / norm(row.iter());
            chosen.extend(row[columns.clone()].iter().map(|value| value * factor));
        }
        Ok(chosen)
    }

    /// The base model's numbers and the change, added.
    fn sum(
        &self,
        base: &Stored,
        rows: &Range<usize>,
        columns: &Range<usize>,
    ) -> Result<Vec<f32>, BuildError> {
        let mut sum = self.block(base, rows, columns)?;
        let change = match &self.factors {
            Factors::Bias(bias) => self.block(bias, rows, columns)?,
            Factors::LowRank { a, b, axes: Axes::OutputsByInputs } => {
                let rank = a.shape[0];
                let left = self.block(b, rows, &(0..rank))?;
                product(&left, &self.block(a, &(0..rank), columns)?, rank)
            }
            Factors::LowRank { a, b, axes: Axes::InputsByOutputs } => {
                let rank = a.shape[0];
                let left = transposed(&self.block(a, &(0..rank), rows)?, rank);
                let right = transposed(&self.block(b, columns, &(0..rank))?, columns.len());
                product(&left, &right, rank)
            }
        };
        for (value, change) in sum.iter_mut().zip(change) {
            *value += self.scale * change;
        }
        Ok(sum)
    }

    /// Some rows and columns of a stored matrix. A vector is a matrix of one column.
    fn block(
        &self,
        stored: &Stored,
        rows: &Range<usize>,
        columns: &Range<usize>,
    ) -> Result<Vec<f32>, BuildError> {
        let width = stored.columns();
        if *columns == (0..width) {
            return self.floats(stored, rows.start * width..rows.end * width);
        }
        let mut block = Vec::with_capacity(rows.len() * columns.len());
        for row in rows.clone() {
            block.extend(self.floats(stored, row * width + columns.start..row * width + columns.end)?);
        }
        Ok(block)
    }

    fn floats(&self, stored: &Stored, elements: Range<usize>) -> Result<Vec<f32>, BuildError> {
        stored.floats(elements)?.ok_or_else(|| {
            let reason = format!(
                "is merged with an adapter and has the type {}; F64, F32, BF16 and F16 can be",
                stored.dtype
            );
            BuildError::tensor(stored.path(), &self.name, reason)
        })
    }

    fn column_norms(&self, base: &Stored) -> Result<&[f32], BuildError> {
        if let Some(norms) = self.column_norms.get() {
            return Ok(norms);
        }
        let width = base.columns();
        let mut squares = vec![0.0f64; width];
        let count = base.shape.first().copied().unwrap_or(0);
        for first in (0..count).step_by(ROWS_AT_ONCE) {
            let rows = self.sum(base, &(first..count.min(first + ROWS_AT_ONCE)), &(0..width))?;
            for row in rows.chunks(width) {
                for (square, value) in squares.iter_mut().zip(row) {
                    *square += f64::from(*value) * f64::from(*value);
                }
            }
        }
        let norms = squares.iter().map(|square| square.sqrt() as f32).collect();
        Ok(self.column_norms.get_or_init(|| norms))
    }
}

fn norm<'v>(values: impl Iterator<Item = &'v f32>) -> f32 {
    values.map(|value| f64::from(*value) * f64::from(*value)).sum::<f64>().sqrt() as f32
}

/// `left right` for `left`, `[rows, rank]`, and `right`, `[rank, columns]`; the rows are divided among threads.
fn product(left: &[f32], right: &[f32], rank: usize) -> Vec<f32> {
    let (rows, columns) = (left.len() / rank, right.len() / rank);
    let mut product = vec![0.0; rows * columns];
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let share = rows.div_ceil(threads).max(1);
    std::thread::scope(|scope| {
        for (left, product) in left.chunks(share * rank).zip(product.chunks_mut((share * columns).max(1))) {
            scope.spawn(move || multiply(left, right, rank, product));
        }
    });
    product
}

fn multiply(left: &[f32], right: &[f32], rank: usize, product: &mut [f32]) {
    let columns = right.len() / rank;
    for (factors, row) in left.chunks(rank).zip(product.chunks_mut(columns.max(1))) {
        for (factor, right) in factors.iter().zip(right.chunks(columns.max(1))) {
            for (sum, value) in row.iter_mut().zip(right) {
                *sum += factor * value;
            }
        }
    }
}

/// The transpose of `matrix`, which has this number of rows.
fn transposed(matrix: &[f32], rows: usize) -> Vec<f32> {
    let columns = matrix.len() / rows.max(1);
    let mut transposed = Vec::with_capacity(matrix.len());
    for column in 0..columns {
        transposed.extend((0..rows).map(|row| matrix[row * columns + column]));
    }
    transposed
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_product_does_not_depend_on_the_number_of_threads() {
        let left: Vec<f32> = (0..7 * 3).map(|i| i as f32).collect();
        let right: Vec<f32> = (0..3 * 5).map(|i| (i % 4) as f32).collect();
        let mut expected = vec![0.0; 7 * 5];
        multiply(&left, &right, 3, &mut expected);
        assert_eq!(product(&left, &right, 3), expected);
        assert_eq!(expected[5 * 2 + 3], 6.0 * right[3] + 7.0 * right[8] + 8.0 * right[13]);
    }

    #[test]
    fn a_transpose_swaps_rows_and_columns() {
        assert_eq!(transposed(&[1.0, 2.0, 3.0, 4.0, 5.0, 6.0], 2), [1.0, 4.0, 2.0, 5.0, 3.0, 6.0]);
    }
}
