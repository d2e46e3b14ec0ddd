//! The format in which layers are written, and whether the ranks' shapes allow it.

use super::Mapping;
use super::quantize::{Format, Integers, TILE};
use crate::builder::BuildError;
use crate::hardware::targets::{HardwareTarget, Precision};
use crate::manifest::{Model, Quantization};

/// Compute capabilities of B200, GB200 and similar, for which `trtllm-build` refuses some formats.
pub(super) const DATA_CENTER_BLACKWELL: &str = "10.";

/// The format of layers' matrices; `None` if they are not quantized here.
///
/// # Errors
/// The target does not compute in it, or the size of a matrix on a rank does not suit it.
pub(super) fn format(
    quantization: &Quantization,
    target: &HardwareTarget,
    model: &Model,
    mapping: Mapping,
) -> Result<Option<Format>, BuildError> {
    let capability = target.compute_capability.as_deref().unwrap_or_default();
    let (format, multiple) = match quantization {
        Quantization::None | Quantization::Checkpoint(_) => return Ok(None),
        _ if capability.starts_with(DATA_CENTER_BLACKWELL) => {
            return Err(BuildError::Option(format!(
                "--quantization {}: trtllm-build of TensorRT-LLM 1.2.1 takes neither integers nor scales for each row on \
                 {}; quantize with NVIDIA's modelopt (FP8 or NVFP4) and give its output with --quantized DIR",
                option_name(quantization),
                target.title
            )));
        }
        Quantization::Fp8 => {
            target.rate(Precision::Fp8)?;
            (Format::Fp8, 16)
        }
        Quantization::Int8WeightOnly | Quantization::Int4WeightOnly => {
            let bits = if *quantization == Quantization::Int8WeightOnly { 8 } else { 4 };
            // Ampere and Ada read interleaved rows, Hopper rows one after the other.
            (Format::Integers(Integers { bits, interleaved: capability.starts_with("8.") }), TILE)
        }
    };
    let tp = mapping.tensor_parallel;
    let kv_heads = if model.num_kv_heads < tp { 1 } else { model.num_kv_heads / tp };
    for (what, size) in [
        ("hidden_size", model.hidden_size / if multiple == TILE { tp } else { 1 }),
        ("intermediate_size", model.intermediate_size / tp),
        ("the queries' width", model.num_heads / tp * model.head_dim),
        ("the width of queries, keys and values", (model.num_heads / tp + 2 * kv_heads) * model.head_dim),
    ] {
        if !size.is_multiple_of(multiple) {
            return Err(BuildError::Option(format!(
                "--quantization {}: TensorRT-LLM's products in this format need multiples of {multiple} on every rank, and \
                 {what} is {size} there at --tp {tp}",
                option_name(quantization)
            )));
        }
    }
    Ok(Some(format))
}

/// The format in the files. The order of integers for compute capability 12.0 is left to `trtllm-build`, which quantizes
/// what is not quantized yet.
pub(super) fn in_file(format: Option<Format>, target: &HardwareTarget) -> Option<Format> {
    let known = ["8.", "9."].iter().any(|major| {
        target.compute_capability.as_deref().is_some_and(|capability| capability.starts_with(major))
    });
    format.filter(|format| known || *format == Format::Fp8)
}

/// Its name for `--quantization`.
pub(super) fn option_name(quantization: &Quantization) -> &str {
    match quantization {
        Quantization::None => "none",
        Quantization::Fp8 => "fp8",
        Quantization::Int8WeightOnly => "int8-weight-only",
        Quantization::Int4WeightOnly => "int4-weight-only",
        Quantization::Checkpoint(algorithm) => algorithm,
    }
}
