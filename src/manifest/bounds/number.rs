//! Whether one number is within its bounds, and the error if it is not.

use std::fmt::Display;
use std::ops::RangeInclusive;

/// A number of the manifest that no engine can have.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{field} is {found}; it must be {expected}")]
pub struct OutOfBounds {
    /// Its path in the manifest, for example `model.hidden_size`.
    pub field: String,
    /// Its value in the manifest.
    pub found: String,
    /// What it may be, as the rest of a sentence.
    pub expected: String,
}

/// Widths of vectors: the product of any three fits in 64 bits, with room for the bytes of a value.
pub(super) const WIDTH: RangeInclusive<usize> = 1..=1 << 20;
/// Rows of the embedding.
pub(super) const VOCABULARY: RangeInclusive<usize> = 1..=1 << 24;
/// Experts of a layer.
pub(super) const EXPERTS: RangeInclusive<usize> = 1..=1 << 16;
pub(super) const LAYERS: RangeInclusive<usize> = 1..=4096;
/// Tokens of a text, and sequences or tokens of an iteration.
pub(super) const TOKENS: RangeInclusive<usize> = 1..=1 << 30;
/// Ranks in one direction.
pub(super) const RANKS: RangeInclusive<usize> = 1..=4096;

pub(super) type Checked = Result<(), OutOfBounds>;

pub(super) fn within(field: impl Into<String>, value: usize, bounds: RangeInclusive<usize>) -> Checked {
    if bounds.contains(&value) { Ok(()) } else { Err(out_of_bounds(field, value, range(&bounds))) }
}

pub(super) fn finite(field: impl Into<String>, value: f64) -> Checked {
    if value.is_finite() { Ok(()) } else { Err(out_of_bounds(field, value, "a finite number")) }
}

pub(super) fn positive(field: impl Into<String>, value: f64) -> Checked {
    let valid = value.is_finite() && value > 0.0;
    if valid { Ok(()) } else { Err(out_of_bounds(field, value, "a finite number above 0")) }
}

pub(super) fn not_negative(field: impl Into<String>, value: f64) -> Checked {
    let valid = value.is_finite() && value >= 0.0;
    if valid { Ok(()) } else { Err(out_of_bounds(field, value, "a finite number of 0 or more")) }
}

pub(super) fn range(bounds: &RangeInclusive<usize>) -> String {
    format!("from {} to {}", bounds.start(), bounds.end())
}

pub(super) fn out_of_bounds(
    field: impl Into<String>,
    found: impl Display,
    expected: impl Into<String>,
) -> OutOfBounds {
    OutOfBounds { field: field.into(), found: found.to_string(), expected: expected.into() }
}
