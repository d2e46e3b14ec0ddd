//! Quantizes weights to the formats that need no calibration, as TensorRT-LLM 1.2.1 reads them.
//!
//! 8-bit floats are in the order of the weights, with a scale in f32 for each row (`Fp8RowwiseLinear`). Integers are
//! in the order in which the mixed-precision products of each compute capability read them
//! (`preprocess_weights_for_mixed_gemm`), with a scale in bf16 for each row.

use half::bf16;

/// Largest 8-bit float (e4m3).
const FP8_MAX: f32 = 448.0;
/// TensorRT-LLM's smallest scale of 8-bit floats.
const FP8_MIN_SCALE: f32 = 1.0 / (FP8_MAX * 512.0);

/// A format of quantized weights.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Format {
    /// 8-bit floats.
    Fp8,
    /// Integers.
    Integers(Integers),
}

/// A layout of integers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Integers {
    /// 8 or 4.
    pub(super) bits: usize,
    /// Whether rows are interleaved, in tiles of [`TILE`] columns; otherwise they follow one another.
    pub(super) interleaved: bool,
}

/// Columns of a row that stay together if rows are interleaved.
pub(super) const TILE: usize = 64;
/// The order of a matrix instruction's columns, for 8-bit integers.
const COLUMNS_8: [usize; 16] = [0, 1, 8, 9, 2, 3, 10, 11, 4, 5, 12, 13, 6, 7, 14, 15];
/// As [`COLUMNS_8`], for 4-bit integers.
const COLUMNS_4: [usize; 32] = [
    0, 1, 8, 9, 16, 17, 24, 25, 2, 3, 10, 11, 18, 19, 26, 27, 4, 5, 12, 13, 20, 21, 28, 29, 6, 7, 14, 15, 22,
    23, 30, 31,
];
/// The order of a register's integers.
const REGISTER_8: [usize; 4] = [0, 2, 1, 3];
const REGISTER_4: [usize; 8] = [0, 2, 4, 6, 1, 3, 5, 7];

impl Format {
    /// Type of the weights, as safetensors names it.
    pub(super) fn dtype(self) -> &'static str {
        match self {
            Self::Fp8 => "F8_E4M3",
            Self::Integers(_) => "I8",
        }
    }

    /// Shape of a matrix of `out` rows and `inp` columns. For integers it does not show their order.
    pub(super) fn shape(self, out: usize, inp: usize) -> [usize; 2] {
        match self {
            Self::Fp8 => [out, inp],
            Self::Integers(Integers { bits, .. }) => [inp, out * bits / 8],
        }
    }

    /// Type of the scales, and bytes of one.
    pub(super) fn scale(self) -> (&'static str, usize) {
        match self {
            Self::Fp8 => ("F32", 4),
            Self::Integers(_) => ("BF16", 2),
        }
    }

    /// Rows that are quantized together.
    pub(super) fn rows(self) -> usize {
        match self {
            Self::Integers(Integers { bits, interleaved: true }) => 16 / bits,
            _ => 1,
        }
    }

    /// Quantizes [`Format::rows`] rows of `inp` weights, in the order of the file.
    pub(super) fn quantize(self, rows: &[f32], inp: usize, weights: &mut Vec<u8>, scales: &mut Vec<u8>) {
        match self {
            Self::Fp8 => {
                let scale = (largest(rows) / FP8_MAX).max(FP8_MIN_SCALE);
                weights.extend(rows.iter().map(|weight| e4m3(weight / scale)));
                scales.extend(scale.to_le_bytes());
            }
            Self::Integers(layout) => {
                let half = (1 << (layout.bits - 1)) as f32;
                let mut inverse = Vec::with_capacity(self.rows());
                for row in rows.chunks(inp) {
                    let scale = bf16::from_f32(largest(row) / half);
                    scales.extend(scale.to_le_bytes());
                    inverse.push(if scale.to_f32() > 0.0 { 1.0 / scale.to_f32() } else { 0.0 });
                }
                // Stored with half of their range added, so that they are not negative.
                let integer = |row: usize, column: usize| {
                    let scaled = (rows[row * inp + column] * inverse[row]).round_ties_even();
                    (scaled.clamp(-half, half - 1.0) + half) as u8
                };
                layout.lay_out(inp, integer, weights);
            }
        }
    }
}

impl Integers {
    fn lay_out(self, inp: usize, integer: impl Fn(usize, usize) -> u8, weights: &mut Vec<u8>) {
        let (columns, register): (&[usize], &[usize]) =
            if self.bits == 8 { (&COLUMNS_8, &REGISTER_8) } else { (&COLUMNS_4, &REGISTER_4) };
        let (rows, tile) = if self.interleaved { (16 / self.bits, TILE) } else { (1, inp) };
        let source = |place: usize| {
            let (group, within) = (place / columns.len(), place % columns.len());
            group * columns.len() + columns[within]
        };
        for start in (0..inp).step_by(tile) {
            for row in 0..rows {
                for word in (start..start + tile).step_by(register.len()) {
                    let taken = register.iter().map(|place| integer(row, source(word + place)));
                    if self.bits == 8 {
                        weights.extend(taken);
                    } else {
                        let nibbles: Vec<u8> = taken.collect();
                        weights.extend(nibbles.chunks(2).map(|pair| pair[0] | (pair[1] << 4)));
                    }
                }
            }
        }
    }
}

fn largest(row: &[f32]) -> f32 {
    row.iter().fold(0.0, |largest, weight| weight.abs().max(largest))
}

/// The nearest 8-bit float with 4 exponent bits, ties to even; at most [`FP8_MAX`].
fn e4m3(value: f32) -> u8 {
    let sign = u8::from(value.is_sign_negative()) << 7;
    let magnitude = value.abs().min(FP8_MAX);
    // Below 2^-6 the distance between neighbours is 2^-9.
    if magnitude < 1.0 / 64.0 {
        return sign | (magnitude * 512.0).round_ties_even() as u8;
    }
    let bits = magnitude.to_bits();
    let rounded = bits + 0x7_ffff + ((bits >> 20) & 1);
    // Exponent and 3 bits of the mantissa; the exponent's bias changes from 127 to 7.
    sign | ((rounded >> 20) - ((127 - 7) << 3)) as u8
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decoded(code: u8) -> f32 {
        let (exponent, mantissa) = (i32::from(code >> 3 & 15), f32::from(code & 7));
        let magnitude = match exponent {
            0 => mantissa / 512.0,
            _ => (1.0 + mantissa / 8.0) * 2f32.powi(exponent - 7),
        };
        if code & 0x80 != 0 { -magnitude } else { magnitude }
    }

    #[test]
    fn every_8_bit_float_is_its_own_nearest_and_ties_go_to_even() {
        let codes: Vec<u8> = (0..=0x7e).collect();
        for pair in codes.windows(2) {
            let (low, high) = (decoded(pair[0]), decoded(pair[1]));
            assert_eq!(e4m3(low), pair[0]);
            assert_eq!(e4m3(-high), pair[1] | 0x80);
            let (middle, even) = ((low + high) / 2.0, pair[0] + (pair[0] & 1));
            assert_eq!(e4m3(middle), even, "{middle}");
            assert_eq!(e4m3(middle + (high - low) / 100.0), pair[1]);
            assert_eq!(e4m3(middle - (high - low) / 100.0), pair[0]);
        }
        assert_eq!(decoded(e4m3(1e9)), 448.0);
    }

    #[test]
    fn a_row_of_zeros_stays_one() {
        for format in [
            Format::Fp8,
            Format::Integers(Integers { bits: 8, interleaved: false }),
            Format::Integers(Integers { bits: 4, interleaved: true }),
        ] {
            let (mut weights, mut scales) = (vec![], vec![]);
            format.quantize(&vec![0.0; 64 * format.rows()], 64, &mut weights, &mut scales);
            let zero = match format {
                Format::Fp8 => 0,
                Format::Integers(Integers { bits: 8, .. }) => 128,
                Format::Integers(_) => 0x88,
            };
            assert!(weights.iter().all(|byte| *byte == zero), "{format:?}: {weights:?}");
        }
    }
}
