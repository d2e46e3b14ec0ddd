//! A tensor of a rank's file.

use super::quantize::Format;
use crate::builder::checkpoint::Tensor;
use crate::builder::convert::width;
use crate::manifest::Dtype;

/// One tensor of a rank's file, or a quantized matrix and its scales.
pub(super) struct RankTensor<'a> {
    pub(super) name: String,
    /// Its shape before it is quantized; `[out, in]` for a matrix.
    pub(super) shape: Vec<usize>,
    /// The type of its numbers, unless they are quantized.
    pub(super) dtype: Dtype,
    /// What it is made from, top to bottom. If these have fewer rows than `shape`, the rest are zero.
    pub(super) parts: Vec<Tensor<'a>>,
    /// A power of two that every number is multiplied by.
    pub(super) scale: f32,
    /// Added to every number.
    pub(super) offset: f32,
    /// Subtracted from each part, element by element.
    pub(super) subtract: Option<Tensor<'a>>,
    /// How it is quantized; `None` if it is not.
    pub(super) format: Option<Format>,
}

/// A tensor as a safetensors header lists it.
pub(super) struct Entry {
    pub(super) name: String,
    pub(super) dtype: String,
    pub(super) shape: Vec<usize>,
    pub(super) bytes: usize,
}

impl RankTensor<'_> {
    /// Its entries in the file: weights, then scales.
    pub(super) fn entries(&self) -> Vec<Entry> {
        let name = self.name.clone();
        let (Some(format), &[out, inp]) = (self.format, &self.shape[..]) else {
            let bytes = width(self.dtype) * self.shape.iter().product::<usize>();
            let dtype = if self.dtype == Dtype::F32 { "F32" } else { "BF16" };
            return vec![Entry { name, dtype: dtype.to_owned(), shape: self.shape.clone(), bytes }];
        };
        let shape = format.shape(out, inp);
        let (dtype, width) = format.scale();
        let scale = name.replace(".weight", ".per_channel_scale");
        vec![
            Entry {
                name,
                dtype: format.dtype().to_owned(),
                shape: shape.to_vec(),
                bytes: shape.iter().product(),
            },
            Entry { name: scale, dtype: dtype.to_owned(), shape: vec![out], bytes: width * out },
        ]
    }

    /// Its size in the file.
    pub(super) fn bytes(&self) -> u64 {
        self.entries().iter().map(|entry| entry.bytes as u64).sum()
    }
}
