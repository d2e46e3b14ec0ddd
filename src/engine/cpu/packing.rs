//! Weight matrices in oneDNN's own layout.

use super::model_view::dtype_view;
use crate::engine::bridge::ffi;
use crate::engine::{EngineError, LibraryError};
use crate::manifest::Dtype;

/// Bytes of a packed `[out, inp]` matrix, a multiple of 64.
///
/// # Errors
/// oneDNN has no product of this shape and type here.
pub fn packed_bytes(dtype: Dtype, out: usize, inp: usize) -> Result<usize, EngineError> {
    Ok(ffi::packed_bytes(dtype_view(dtype), out, inp).map_err(LibraryError::from)?)
}

/// Rows of a packed matrix that gives the logits of `tokens`; `room_for_logits` in `cpp/cpu/matmul.h`.
pub fn logit_rows(tokens: usize) -> usize {
    tokens.next_multiple_of(16)
}

/// Packs `source`, row-major `[out, inp]` in `dtype` (int8: already quantized), into `packed`, which is
/// [`packed_bytes`] long.
///
/// # Errors
/// The lengths do not fit the shape, or oneDNN has no product of this shape and type here.
pub fn pack(
    dtype: Dtype,
    out: usize,
    inp: usize,
    source: &[u8],
    packed: &mut [u8],
) -> Result<(), EngineError> {
    Ok(ffi::pack(dtype_view(dtype), out, inp, source, packed).map_err(LibraryError::from)?)
}
