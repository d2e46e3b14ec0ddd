//! Numbers from the checkpoint's type to the engine's.

use half::{bf16, f16};

use super::BuildError;
use super::checkpoint::Tensor;
use crate::engine::manifest::Dtype;

/// Bytes of one element.
pub(super) fn width(dtype: Dtype) -> usize {
    match dtype {
        Dtype::F32 => 4,
        Dtype::Bf16 => 2,
    }
}

/// Converts a tensor's `elements` (all of `tensor.bytes` is `0..` their number) and appends them to
/// `out`, little-endian, rounded to the nearest.
///
/// # Errors
/// An element is not finite, or too large for `to`; the tensor has a type that no engine is made of.
pub(super) fn append(
    tensor: &Tensor<'_>,
    elements: std::ops::Range<usize>,
    to: Dtype,
    out: &mut Vec<u8>,
) -> Result<(), BuildError> {
    let bytes = |width: usize| &tensor.bytes[elements.start * width..elements.end * width];
    let bad = match tensor.dtype {
        safetensors::Dtype::F32 => append_as(bytes(4), f32::from_le_bytes, to, out),
        safetensors::Dtype::BF16 => append_as(bytes(2), |b| bf16::from_le_bytes(b).to_f32(), to, out),
        safetensors::Dtype::F16 => append_as(bytes(2), |b| f16::from_le_bytes(b).to_f32(), to, out),
        other => return Err(wrong_type(tensor, other)),
    };
    match bad {
        None => Ok(()),
        Some((index, value)) => {
            let index = elements.start + index;
            let reason = format!(
                "has {value} as its element {index}, which is not a finite {to} number; the checkpoint is damaged"
            );
            Err(BuildError::tensor(tensor.path, tensor.name, reason))
        }
    }
}

/// What to say of a tensor that is neither f32, bf16 nor f16.
pub(super) fn wrong_type(tensor: &Tensor<'_>, dtype: safetensors::Dtype) -> BuildError {
    let reason = format!("has the type {dtype}; F32, BF16 and F16 can be built");
    BuildError::tensor(tensor.path, tensor.name, reason)
}

/// Index and value of the first element that is not finite, if any.
fn append_as<const N: usize>(
    bytes: &[u8],
    read: impl Fn([u8; N]) -> f32,
    to: Dtype,
    out: &mut Vec<u8>,
) -> Option<(usize, f32)> {
    let (source, _) = bytes.as_chunks::<N>();
    let start = out.len();
    out.resize(start + source.len() * width(to), 0);
    let mut finite = true;
    // No branch on the value: the loops below are vectorised.
    match to {
        Dtype::F32 => {
            let (target, _) = out[start..].as_chunks_mut::<4>();
            for (from, to) in source.iter().zip(target) {
                let value = read(*from);
                finite &= value.is_finite();
                *to = value.to_le_bytes();
            }
        }
        Dtype::Bf16 => {
            let (target, _) = out[start..].as_chunks_mut::<2>();
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
        Dtype::F32 => value.is_finite(),
        Dtype::Bf16 => bf16::from_f32(value).is_finite(),
    };
    source.iter().map(|bytes| read(*bytes)).enumerate().find(|(_, value)| !fits(*value))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;

    fn convert(from: safetensors::Dtype, bytes: &[u8], to: Dtype) -> Result<Vec<u8>, BuildError> {
        let elements = bytes.len() / if from == safetensors::Dtype::F32 { 4 } else { 2 };
        let tensor =
            Tensor { name: "score.weight", path: Path::new("file"), dtype: from, shape: &[elements], bytes };
        let mut out = vec![7];
        append(&tensor, 0..elements, to, &mut out)?;
        Ok(out[1..].to_vec())
    }

    const VALUES: [f32; 6] = [0.0, -0.0, 1.5, -65504.0, 6.1e-5, 0.333_251_95];

    #[test]
    fn every_16_bit_number_becomes_the_same_f32() {
        let bytes = |to: fn(f32) -> [u8; 2]| VALUES.iter().flat_map(|v| to(*v)).collect::<Vec<u8>>();
        let halves = bytes(|v| f16::from_f32(v).to_le_bytes());
        let expected: Vec<u8> =
            VALUES.iter().flat_map(|v| f16::from_f32(*v).to_f32().to_le_bytes()).collect();
        assert_eq!(convert(safetensors::Dtype::F16, &halves, Dtype::F32).unwrap(), expected);
        let brains = bytes(|v| bf16::from_f32(v).to_le_bytes());
        let expected: Vec<u8> =
            VALUES.iter().flat_map(|v| bf16::from_f32(*v).to_f32().to_le_bytes()).collect();
        assert_eq!(convert(safetensors::Dtype::BF16, &brains, Dtype::F32).unwrap(), expected);
        assert_eq!(convert(safetensors::Dtype::BF16, &brains, Dtype::Bf16).unwrap(), brains);
    }

    #[test]
    fn f32_is_rounded_to_the_nearest_bf16_ties_to_even() {
        // Between 1.0 (0x3f80) and its successor (0x3f81) lie 2^16 values of f32.
        for (bits, expected) in
            [(0x3f80_7fff, 0x3f80), (0x3f80_8000, 0x3f80), (0x3f80_8001, 0x3f81), (0x3f81_8000, 0x3f82u16)]
        {
            let bytes = f32::from_bits(bits).to_le_bytes();
            let converted = convert(safetensors::Dtype::F32, &bytes, Dtype::Bf16).unwrap();
            assert_eq!(converted, expected.to_le_bytes(), "{bits:x}");
        }
    }

    #[test]
    fn a_number_that_is_not_finite_is_refused_with_its_place() {
        for (value, to) in [
            (f32::NAN, Dtype::F32),
            (f32::INFINITY, Dtype::Bf16),
            (f32::NEG_INFINITY, Dtype::F32),
            (f32::MAX, Dtype::Bf16),
        ] {
            let bytes: Vec<u8> = [1.0, 2.0, value].iter().flat_map(|v: &f32| v.to_le_bytes()).collect();
            let sentence = convert(safetensors::Dtype::F32, &bytes, to).unwrap_err().to_string();
            assert!(sentence.contains("score.weight") && sentence.contains("element 2"), "{sentence}");
        }
    }
}
