//! One tensor of a checkpoint, or some of its rows or columns.

use std::ops::Range;
use std::path::Path;

use safetensors::Dtype;

use crate::builder::BuildError;
use crate::builder::adapter::Merge;
use crate::builder::stored::Stored;

/// One tensor as the checkpoint holds it, merged with what an adapter changes.
#[derive(Clone, Copy)]
pub(in crate::builder) struct Tensor<'a> {
    pub(in crate::builder) name: &'a str,
    /// Its file.
    pub(in crate::builder) path: &'a Path,
    /// The type that [`Tensor::read`] gives: F32 if an adapter changes it.
    pub(in crate::builder) dtype: Dtype,
    pub(in crate::builder) shape: &'a [usize],
    stored: &'a Stored,
    merge: Option<&'a Merge>,
    /// Index of its first element in the whole tensor.
    first: usize,
    elements: usize,
    /// Elements of one row.
    row: usize,
    /// Elements from the start of one row to that of the next; more than `row` if only some columns are taken.
    pitch: usize,
    /// Whether its rows are columns of the stored matrix.
    transposed: bool,
}

impl<'a> Tensor<'a> {
    pub(super) fn new(name: &'a str, stored: &'a Stored, merge: Option<&'a Merge>) -> Self {
        let row = stored.columns();
        Self {
            name,
            path: stored.path(),
            dtype: if merge.is_some() { Dtype::F32 } else { stored.dtype },
            shape: &stored.shape,
            stored,
            merge,
            first: 0,
            elements: stored.elements(),
            row,
            pitch: row,
            transposed: false,
        }
    }

    pub(in crate::builder) fn elements(&self) -> usize {
        self.elements
    }

    pub(in crate::builder) fn row_count(&self) -> usize {
        self.elements / self.row.max(1)
    }

    /// Some of its rows, as a tensor.
    pub(in crate::builder) fn rows(&self, rows: Range<usize>) -> Self {
        let step = if self.transposed { 1 } else { self.pitch };
        Self { first: self.first + rows.start * step, elements: rows.len() * self.row, ..*self }
    }

    /// The transpose of a whole matrix.
    pub(in crate::builder) fn transposed(&self) -> Self {
        Self { row: self.row_count(), transposed: true, ..*self }
    }

    /// Some of its columns, as a tensor.
    pub(in crate::builder) fn columns(&self, columns: Range<usize>) -> Self {
        let elements = self.row_count() * columns.len();
        let step = if self.transposed { self.pitch } else { 1 };
        Self { first: self.first + columns.start * step, elements, row: columns.len(), ..*self }
    }

    /// Its elements as a matrix with rows of this length, if it is part of a tensor with more dimensions.
    pub(in crate::builder) fn as_matrix(&self, row: usize) -> Self {
        assert!(self.row == self.pitch && !self.transposed, "only whole rows follow one another");
        Self { row, pitch: row, ..*self }
    }

    /// Reads a run of its elements, each `width` bytes, into `bytes`.
    pub(in crate::builder) fn read(
        &self,
        elements: &Range<usize>,
        width: usize,
        bytes: &mut Vec<u8>,
    ) -> Result<(), BuildError> {
        if self.transposed {
            return self.read_transposed(elements, width, bytes);
        }
        if let Some(merge) = self.merge {
            return self.read_merged(merge, elements, bytes);
        }
        bytes.resize(elements.len() * width, 0);
        if self.row == self.pitch {
            return self.stored.read(self.first + elements.start, width, bytes);
        }
        let (mut element, mut rest) = (elements.start, &mut bytes[..]);
        while element < elements.end {
            let (row, column) = (element / self.row, element % self.row);
            let count = (self.row - column).min(elements.end - element);
            let (run, after) = rest.split_at_mut(count * width);
            self.stored.read(self.first + row * self.pitch + column, width, run)?;
            (element, rest) = (element + count, after);
        }
        Ok(())
    }

    /// Reads a run of the transpose: the columns that it touches, of every row of the stored matrix.
    fn read_transposed(
        &self,
        elements: &Range<usize>,
        width: usize,
        bytes: &mut Vec<u8>,
    ) -> Result<(), BuildError> {
        let row = self.row.max(1);
        let (from, to) = (elements.start / row, elements.end.div_ceil(row));
        let count = to - from;
        bytes.clear();
        bytes.resize(elements.len() * width, 0);
        let merged = match self.merge {
            Some(merge) => {
                let pitch = self.pitch.max(1);
                let (above, left) = (self.first / pitch, self.first % pitch);
                Some(merge.rows(self.stored, above..above + row, left + from..left + to)?)
            }
            None => None,
        };
        let mut stored = vec![0; count * width];
        for input in 0..row {
            match &merged {
                Some(values) => {
                    for (to, value) in stored.chunks_mut(width).zip(&values[input * count..]) {
                        to.copy_from_slice(&value.to_le_bytes());
                    }
                }
                None => self.stored.read(input * self.pitch + self.first + from, width, &mut stored)?,
            }
            for (output, value) in stored.chunks(width).enumerate() {
                let element = (from + output) * row + input;
                if elements.contains(&element) {
                    let at = (element - elements.start) * width;
                    bytes[at..at + width].copy_from_slice(value);
                }
            }
        }
        Ok(())
    }

    /// Reads a run of merged elements, in f32.
    fn read_merged(
        &self,
        merge: &Merge,
        elements: &Range<usize>,
        bytes: &mut Vec<u8>,
    ) -> Result<(), BuildError> {
        bytes.clear();
        if elements.is_empty() {
            return Ok(());
        }
        let (row, pitch) = (self.row.max(1), self.pitch.max(1));
        // The whole rows that the run touches, of the columns that this tensor has.
        let (above, left) = (self.first / pitch, self.first % pitch);
        let (from, to) = (elements.start / row, elements.end.div_ceil(row));
        let merged = merge.rows(self.stored, above + from..above + to, left..left + row)?;
        let skipped = elements.start - from * row;
        for value in &merged[skipped..skipped + elements.len()] {
            bytes.extend_from_slice(&value.to_le_bytes());
        }
        Ok(())
    }
}
