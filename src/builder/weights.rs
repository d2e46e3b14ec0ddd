//! Writes `weights.safetensors`, tensor by tensor, so that at most one tensor and its packed copy are in memory.

use std::fs::File;
use std::io::{self, Write};
use std::path::Path;

use half::bf16;
use serde_json::{Map, Value, json};

use super::checkpoint::Tensor;
use super::convert::{self, Converter};
use super::int8::quantize;
use super::plan::{TensorLayout, TensorPlan};
use super::{BuildError, Progress};
use crate::engine::cpu;
use crate::manifest::digest::FileHasher;
use crate::manifest::{Dtype, FileDigest};

/// Every tensor starts at a multiple of this, so that a mapped file can be used in place.
const ALIGNMENT: usize = 64;

/// Writes the planned tensors to `path`, which must not exist.
///
/// # Errors
/// The file cannot be written, a number is not finite, or the build was interrupted.
pub(super) fn write(
    path: &Path,
    plans: &[TensorPlan<'_>],
    progress: &dyn Progress,
) -> Result<FileDigest, BuildError> {
    let mut writer = Writer {
        path,
        file: File::create_new(path).map_err(BuildError::write(path))?,
        hasher: FileHasher::default(),
    };
    progress.start(plans.len(), plans.iter().map(|plan| plan.layout.bytes() as u64).sum());
    writer.put(&header(plans))?;
    let mut scales = Vec::new();
    for plan in plans {
        match plan.layout {
            TensorLayout::RowMajor { dtype, .. } => writer.row_major(plan, dtype, progress)?,
            TensorLayout::Packed { dtype, out, inp, bytes } => {
                let mut packed = vec![0; bytes];
                if dtype == Dtype::Int8 {
                    let quantized = quantize(plan, inp, progress)?;
                    cpu::pack(dtype, out, inp, &quantized.values, &mut packed)?;
                    scales = quantized.scales;
                } else {
                    let mut rows = rows(plan, dtype, progress)?;
                    multiply(plan, dtype, inp, &mut rows);
                    cpu::pack(dtype, out, inp, &rows, &mut packed)?;
                }
                writer.put(&packed)?;
                progress.written(bytes as u64);
            }
            TensorLayout::Scales { .. } => {
                let bytes: Vec<u8> = scales.iter().flat_map(|scale| scale.to_le_bytes()).collect();
                writer.put(&bytes)?;
                progress.written(bytes.len() as u64);
            }
        }
        writer.put(&vec![0; padding(plan.layout.bytes())])?;
        progress.tensor(&plan.name);
    }
    writer.finish()
}

/// All rows of a matrix, converted.
fn rows(plan: &TensorPlan<'_>, dtype: Dtype, progress: &dyn Progress) -> Result<Vec<u8>, BuildError> {
    let elements: usize = plan.sources.iter().map(Tensor::elements).sum();
    let mut rows = Vec::with_capacity(elements * convert::width(dtype));
    let mut converter = Converter::new(dtype, progress);
    for source in &plan.sources {
        converter.convert(source, |run| {
            if plan.scale == 1.0 {
                rows.extend_from_slice(run);
            } else {
                rows.extend(scaled(run, dtype, plan.scale));
            }
            Ok(())
        })?;
    }
    Ok(rows)
}

/// Multiplies converted rows of `columns` numbers by the plan's factors, which is exact, since all are powers of two.
fn multiply(plan: &TensorPlan<'_>, dtype: Dtype, columns: usize, rows: &mut [u8]) {
    if !plan.has_factors() {
        return;
    }
    for (number, row) in rows.chunks_mut(columns * convert::width(dtype)).enumerate() {
        let mut values = convert::floats(row, dtype);
        plan.multiply_row(number, &mut values);
        match dtype {
            Dtype::Bf16 => {
                for (bytes, value) in row.as_chunks_mut::<2>().0.iter_mut().zip(values) {
                    *bytes = bf16::from_f32(value).to_le_bytes();
                }
            }
            Dtype::F32 | Dtype::Int8 => {
                for (bytes, value) in row.as_chunks_mut::<4>().0.iter_mut().zip(values) {
                    *bytes = value.to_le_bytes();
                }
            }
        }
    }
}

/// `run - subtract`, in f32. A row of a head is converted in one run, so both have the same length.
fn difference(run: &[u8], subtract: &[f32]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(run.len());
    for (&value, subtract) in run.as_chunks::<4>().0.iter().zip(subtract) {
        bytes.extend((f32::from_le_bytes(value) - subtract).to_le_bytes());
    }
    bytes
}

/// `run + offset`, in f32.
fn shifted(run: &[u8], offset: f32) -> Vec<u8> {
    let values = run.as_chunks::<4>().0.iter();
    values.flat_map(|&bytes| (f32::from_le_bytes(bytes) + offset).to_le_bytes()).collect()
}

/// `run * scale`, which is exact, since the scale is a power of two.
fn scaled(run: &[u8], dtype: Dtype, scale: f32) -> Vec<u8> {
    if dtype == Dtype::Bf16 {
        let values = run.as_chunks::<2>().0.iter();
        return values
            .flat_map(|&bytes| bf16::from_f32(bf16::from_le_bytes(bytes).to_f32() * scale).to_le_bytes())
            .collect();
    }
    let values = run.as_chunks::<4>().0.iter();
    values.flat_map(|&bytes| (f32::from_le_bytes(bytes) * scale).to_le_bytes()).collect()
}

fn padding(bytes: usize) -> usize {
    bytes.next_multiple_of(ALIGNMENT) - bytes
}

/// The file up to its data: the header's length, then the header, padded with spaces so that the data starts
/// aligned. The format allows no gaps between tensors, so where alignment needs one a tensor `pad.N` fills it.
fn header(plans: &[TensorPlan<'_>]) -> Vec<u8> {
    let mut entries = Map::new();
    let mut offset = 0;
    let mut gaps = 0;
    let mut entry = |name: String, dtype: &str, shape: &[usize], bytes: usize| {
        let offsets = [offset, offset + bytes];
        offset += bytes;
        entries.insert(name, json!({ "dtype": dtype, "shape": shape, "data_offsets": offsets }));
    };
    for plan in plans {
        let bytes = plan.layout.bytes();
        let name = plan.name.clone();
        match &plan.layout {
            TensorLayout::Scales { rows } => entry(name, "F32", &[*rows], bytes),
            TensorLayout::RowMajor { dtype: Dtype::F32 | Dtype::Int8, shape } => {
                entry(name, "F32", shape, bytes)
            }
            TensorLayout::RowMajor { dtype: Dtype::Bf16, shape } => entry(name, "BF16", shape, bytes),
            TensorLayout::Packed { .. } => entry(name, "U8", &[bytes], bytes),
        }
        let gap = padding(bytes);
        if gap > 0 {
            entry(format!("pad.{gaps}"), "U8", &[gap], gap);
            gaps += 1;
        }
    }
    let mut text = Value::Object(entries).to_string().into_bytes();
    let length = (size_of::<u64>() + text.len()).next_multiple_of(ALIGNMENT) - size_of::<u64>();
    text.resize(length, b' ');
    let mut header = (length as u64).to_le_bytes().to_vec();
    header.append(&mut text);
    header
}

/// A file that is hashed as it is written.
struct Writer<'a> {
    path: &'a Path,
    file: File,
    hasher: FileHasher,
}

impl Writer<'_> {
    fn put(&mut self, bytes: &[u8]) -> Result<(), BuildError> {
        self.file.write_all(bytes).map_err(BuildError::write(self.path))?;
        self.hasher.update(bytes);
        Ok(())
    }

    /// Writes a row-major tensor, converted, shifted by its offset, or minus a row.
    fn row_major(
        &mut self,
        plan: &TensorPlan<'_>,
        dtype: Dtype,
        progress: &dyn Progress,
    ) -> Result<(), BuildError> {
        if plan.has_factors() {
            return self.multiplied(plan, progress);
        }
        let subtract = plan.subtract.as_ref().map(convert::values).transpose()?;
        let mut converter = Converter::new(dtype, progress);
        for source in &plan.sources {
            converter.convert(source, |run| {
                match &subtract {
                    Some(subtract) => {
                        self.put(&scaled(&difference(run, subtract), Dtype::F32, plan.scale))?;
                    }
                    None if plan.scale != 1.0 => self.put(&scaled(run, dtype, plan.scale))?,
                    None if plan.offset != 0.0 => self.put(&shifted(run, plan.offset))?,
                    None => self.put(run)?,
                }
                progress.written(run.len() as u64);
                Ok(())
            })?;
        }
        Ok(())
    }

    /// Writes a vector of a norm or a bias whose numbers have factors, in f32.
    fn multiplied(&mut self, plan: &TensorPlan<'_>, progress: &dyn Progress) -> Result<(), BuildError> {
        let mut values = Vec::new();
        for source in &plan.sources {
            values.extend(convert::values(source)?);
        }
        for value in &mut values {
            *value = if plan.subtract.is_some() { 0.0 } else { *value + plan.offset };
        }
        plan.multiply_row(0, &mut values);
        let bytes: Vec<u8> = values.into_iter().flat_map(f32::to_le_bytes).collect();
        self.put(&bytes)?;
        progress.written(bytes.len() as u64);
        Ok(())
    }

    fn finish(self) -> Result<FileDigest, BuildError> {
        let synced: io::Result<()> = self.file.sync_all();
        synced.map_err(BuildError::write(self.path))?;
        Ok(self.hasher.finish())
    }
}
