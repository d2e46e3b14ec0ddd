//! Converts numbers from the checkpoint's type to the engine's.

use std::ops::Range;

use half::{bf16, f16};

use super::checkpoint::Tensor;
use super::{BuildError, Progress};
use crate::manifest::Dtype;

/// Bytes of one converted element. Matrices that become int8 are converted to f32 first.
pub(super) fn width(dtype: Dtype) -> usize {
    match dtype {
        Dtype::F32 | Dtype::Int8 => 4,
        Dtype::Bf16 => 2,
    }
}

/// Elements converted at a time. Between two runs a build can be interrupted.
const ELEMENTS_AT_ONCE: usize = 1 << 20;

/// Converts tensors run by run, reusing its buffers.
pub(super) struct Converter<'a> {
    to: Dtype,
    progress: &'a dyn Progress,
    source: Vec<u8>,
    converted: Vec<u8>,
}

impl<'a> Converter<'a> {
    /// Converts to `to` until `progress` interrupts it.
    pub(super) fn new(to: Dtype, progress: &'a dyn Progress) -> Self {
        Self { to, progress, source: Vec::new(), converted: Vec::new() }
    }

    /// Passes a tensor's elements to `sink`, run by run, little-endian, rounded to the nearest.
    ///
    /// # Errors
    /// The file cannot be read, an element is not finite or too large, `sink` fails, or the build was
    /// interrupted.
    pub(super) fn convert(
        &mut self,
        tensor: &Tensor<'_>,
        mut sink: impl FnMut(&[u8]) -> Result<(), BuildError>,
    ) -> Result<(), BuildError> {
        let elements = tensor.elements();
        for start in (0..elements).step_by(ELEMENTS_AT_ONCE) {
            if self.progress.interrupted() {
                return Err(BuildError::Interrupted);
            }
            let run = start..elements.min(start + ELEMENTS_AT_ONCE);
            self.run(tensor, &run)?;
            sink(&self.converted)?;
        }
        Ok(())
    }

    fn run(&mut self, tensor: &Tensor<'_>, run: &Range<usize>) -> Result<(), BuildError> {
        let Self { to, source, converted, .. } = self;
        let width = match tensor.dtype {
            safetensors::Dtype::F64 => 8,
            safetensors::Dtype::F32 => 4,
            safetensors::Dtype::BF16 | safetensors::Dtype::F16 => 2,
            other => return Err(wrong_type(tensor, other)),
        };
        tensor.read(run, width, source)?;
        let bad = match tensor.dtype {
            safetensors::Dtype::F64 => {
                convert(source, |bytes| f64::from_le_bytes(bytes) as f32, *to, converted)
            }
            safetensors::Dtype::F32 => convert(source, f32::from_le_bytes, *to, converted),
            safetensors::Dtype::BF16 => {
                convert(source, |bytes| bf16::from_le_bytes(bytes).to_f32(), *to, converted)
            }
            _ => convert(source, |bytes| f16::from_le_bytes(bytes).to_f32(), *to, converted),
        };
        let Some((index, value)) = bad else { return Ok(()) };
        let index = run.start + index;
        let reason = format!(
            "has {value} as its element {index}, which is not a finite {to} number; the checkpoint is damaged"
        );
        Err(BuildError::tensor(tensor.path, tensor.name, reason))
    }
}

/// Passes each row of `sources` in f32 to `sink`, all of `columns` numbers.
///
/// # Errors
/// As for [`Converter::convert`].
pub(super) fn each_row(
    sources: &[Tensor<'_>],
    columns: usize,
    progress: &dyn super::Progress,
    mut sink: impl FnMut(&[f32]),
) -> Result<(), BuildError> {
    let mut converter = Converter::new(Dtype::F32, progress);
    let mut row = Vec::with_capacity(columns);
    for source in sources {
        converter.convert(source, |run| {
            for &bytes in run.as_chunks::<4>().0 {
                row.push(f32::from_le_bytes(bytes));
                if row.len() == columns {
                    sink(&row);
                    row.clear();
                }
            }
            Ok(())
        })?;
    }
    Ok(())
}

/// All elements of a small tensor.
///
/// # Errors
/// As for [`Converter::convert`].
pub(super) fn values(tensor: &Tensor<'_>) -> Result<Vec<f32>, BuildError> {
    let mut values = Vec::with_capacity(tensor.elements());
    Converter::new(Dtype::F32, &super::Silent).convert(tensor, |run| {
        values.extend(run.as_chunks::<4>().0.iter().map(|&bytes| f32::from_le_bytes(bytes)));
        Ok(())
    })?;
    Ok(values)
}

/// Converted numbers as f32.
pub(super) fn floats(bytes: &[u8], dtype: Dtype) -> Vec<f32> {
    match dtype {
        Dtype::F32 | Dtype::Int8 => {
            bytes.as_chunks::<4>().0.iter().map(|&bytes| f32::from_le_bytes(bytes)).collect()
        }
        Dtype::Bf16 => {
            bytes.as_chunks::<2>().0.iter().map(|&bytes| bf16::from_le_bytes(bytes).to_f32()).collect()
        }
    }
}

/// The error for a tensor of a type that cannot be converted.
pub(super) fn wrong_type(tensor: &Tensor<'_>, dtype: safetensors::Dtype) -> BuildError {
    let reason = format!("has the type {dtype}; F64, F32, BF16 and F16 can be built");
    BuildError::tensor(tensor.path, tensor.name, reason)
}

/// Converts `source` into `converted`. Returns index and value of the first element that is not finite.
fn convert<const N: usize>(
    source: &[u8],
    read: impl Fn([u8; N]) -> f32,
    to: Dtype,
    converted: &mut Vec<u8>,
) -> Option<(usize, f32)> {
    let (source, _) = source.as_chunks::<N>();
    converted.resize(source.len() * width(to), 0);
    let mut finite = true;
    // The loops below do not branch on the value, so that they are vectorised.
    match to {
        Dtype::F32 | Dtype::Int8 => {
            let (target, _) = converted.as_chunks_mut::<4>();
            for (from, to) in source.iter().zip(target) {
                let value = read(*from);
                finite &= value.is_finite();
                *to = value.to_le_bytes();
            }
        }
        Dtype::Bf16 => {
            let (target, _) = converted.as_chunks_mut::<2>();
            for (from, to) in source.iter().zip(target) {
                let value = bf16::from_f32(read(*from));
                finite &= value.is_finite();
                *to = value.to_le_bytes();
            }
        }
    }
    if finite {
        return None;
    }
    let fits = |value: f32| match to {
        Dtype::F32 | Dtype::Int8 => value.is_finite(),
        Dtype::Bf16 => bf16::from_f32(value).is_finite(),
    };
    source.iter().map(|bytes| read(*bytes)).enumerate().find(|(_, value)| !fits(*value))
}

#[cfg(test)]
mod tests {
    use super::*;

    const VALUES: [f32; 6] = [0.0, -0.0, 1.5, -65504.0, 6.1e-5, 0.333_251_95];

    fn converted<const N: usize>(values: &[[u8; N]], read: impl Fn([u8; N]) -> f32, to: Dtype) -> Vec<u8> {
        let mut converted = Vec::new();
        assert_eq!(convert(values.as_flattened(), read, to, &mut converted), None);
        converted
    }

    #[test]
    fn every_16_bit_number_becomes_the_same_f32() {
        let halves = VALUES.map(f16::from_f32);
        let expected = halves.map(|half| half.to_f32().to_le_bytes());
        let read = |bytes| f16::from_le_bytes(bytes).to_f32();
        assert_eq!(converted(&halves.map(f16::to_le_bytes), read, Dtype::F32), expected.as_flattened());

        let brains = VALUES.map(|value| bf16::from_f32(value).to_le_bytes());
        let expected = brains.map(|brain| bf16::from_le_bytes(brain).to_f32().to_le_bytes());
        let read = |bytes| bf16::from_le_bytes(bytes).to_f32();
        assert_eq!(converted(&brains, read, Dtype::F32), expected.as_flattened());
        assert_eq!(converted(&brains, read, Dtype::Bf16), brains.as_flattened());
    }

    #[test]
    fn f32_is_rounded_to_the_nearest_bf16_ties_to_even() {
        // Between 1.0 (0x3f80) and its successor (0x3f81) are 2^16 values of f32.
        let cases: [(u32, u16); 4] =
            [(0x3f80_7fff, 0x3f80), (0x3f80_8000, 0x3f80), (0x3f80_8001, 0x3f81), (0x3f81_8000, 0x3f82)];
        for (bits, expected) in cases {
            let bytes = converted(&[bits.to_le_bytes()], f32::from_le_bytes, Dtype::Bf16);
            assert_eq!(bytes, expected.to_le_bytes(), "{bits:x}");
        }
    }

    #[test]
    fn a_number_that_the_engine_cannot_hold_is_found() {
        for (value, to) in [
            (f32::NAN, Dtype::F32),
            (f32::INFINITY, Dtype::Bf16),
            (f32::NEG_INFINITY, Dtype::F32),
            (f32::MAX, Dtype::Bf16),
        ] {
            let bytes = [1.0, 2.0, value].map(f32::to_le_bytes);
            let found = convert(bytes.as_flattened(), f32::from_le_bytes, to, &mut Vec::new());
            let (index, found) = found.unwrap();
            assert_eq!((index, found.to_bits()), (2, value.to_bits()));
        }
    }
}
