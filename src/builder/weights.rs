//! Writes `weights.safetensors`, tensor by tensor: no more than one tensor, and its packed copy, is in
//! memory at a time.

use std::fs::File;
use std::io::{self, Write};
use std::path::Path;

use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};

use super::checkpoint::Tensor;
use super::convert::{self, Converter};
use super::plan::{Form, Planned};
use super::quantize::quantize;
use super::{BuildError, Progress};
use crate::engine::cpu;
use crate::manifest::verify::hexadecimal;
use crate::manifest::{Dtype, FileDigest};

/// Where every tensor starts, so that a mapped file can be used in place.
const ALIGNMENT: usize = 64;

/// Writes the planned tensors to `path`, which must not exist.
///
/// # Errors
/// The file cannot be written, a number is not finite, or the build was interrupted.
pub(super) fn write(
    path: &Path,
    plan: &[Planned<'_>],
    progress: &dyn Progress,
) -> Result<FileDigest, BuildError> {
    let mut writer = Writer {
        path,
        file: File::create_new(path).map_err(BuildError::write(path))?,
        hasher: Sha256::new(),
        bytes: 0,
    };
    progress.begin(plan.len(), plan.iter().map(|planned| planned.form.bytes() as u64).sum());
    writer.put(&header(plan))?;
    let mut scales = Vec::new();
    for planned in plan {
        match planned.form {
            Form::Plain { dtype, .. } => {
                let mut converter = Converter::new(dtype, progress);
                let mut minus = Vec::new();
                if let Some(tensor) = &planned.minus {
                    converter.convert(tensor, |run| {
                        minus.extend_from_slice(run);
                        Ok(())
                    })?;
                }
                for source in &planned.sources {
                    converter.convert(source, |run| {
                        match planned.add {
                            _ if !minus.is_empty() => writer.put(&difference(run, &minus))?,
                            0.0 => writer.put(run)?,
                            add => writer.put(&added(run, add))?,
                        }
                        progress.written(run.len() as u64);
                        Ok(())
                    })?;
                }
            }
            Form::Packed { dtype, out, inp, bytes } => {
                let mut packed = vec![0; bytes];
                if dtype == Dtype::Int8 {
                    let quantized = quantize(&planned.sources, inp, progress)?;
                    cpu::pack(dtype, out, inp, &quantized.values, &mut packed)?;
                    scales = quantized.scales;
                } else {
                    cpu::pack(dtype, out, inp, &rows(planned, dtype, progress)?, &mut packed)?;
                }
                writer.put(&packed)?;
                progress.written(bytes as u64);
            }
            Form::Scales { .. } => {
                let bytes: Vec<u8> = scales.iter().flat_map(|scale| scale.to_le_bytes()).collect();
                writer.put(&bytes)?;
                progress.written(bytes.len() as u64);
            }
        }
        writer.put(&vec![0; padding(planned.form.bytes())])?;
        progress.tensor(&planned.name);
    }
    writer.finish()
}

/// All rows of a matrix, converted.
fn rows(planned: &Planned<'_>, dtype: Dtype, progress: &dyn Progress) -> Result<Vec<u8>, BuildError> {
    let elements: usize = planned.sources.iter().map(Tensor::elements).sum();
    let mut rows = Vec::with_capacity(elements * convert::width(dtype));
    let mut converter = Converter::new(dtype, progress);
    for source in &planned.sources {
        converter.convert(source, |run| {
            rows.extend_from_slice(run);
            Ok(())
        })?;
    }
    Ok(rows)
}

/// Numbers in f32, less others; a row of a head, which is converted in one run.
fn difference(run: &[u8], minus: &[u8]) -> Vec<u8> {
    let (a, b) = (run.as_chunks::<4>().0, minus.as_chunks::<4>().0);
    let less = |(&a, &b): (&[u8; 4], &[u8; 4])| (f32::from_le_bytes(a) - f32::from_le_bytes(b)).to_le_bytes();
    a.iter().zip(b).flat_map(less).collect()
}

/// Numbers in f32 with something added to each.
fn added(run: &[u8], add: f32) -> Vec<u8> {
    run.as_chunks::<4>().0.iter().flat_map(|&bytes| (f32::from_le_bytes(bytes) + add).to_le_bytes()).collect()
}

fn padding(bytes: usize) -> usize {
    bytes.next_multiple_of(ALIGNMENT) - bytes
}

/// The file up to its data: the header's length, then the header, filled up with spaces so that the data
/// starts aligned. A tensor of a size that would put the next one out of line is followed by one that
/// fills the gap, for the format allows none.
fn header(plan: &[Planned<'_>]) -> Vec<u8> {
    let mut entries = Map::new();
    let mut offset = 0;
    let mut gaps = 0;
    let mut entry = |name: String, dtype: &str, shape: &[usize], bytes: usize| {
        let offsets = [offset, offset + bytes];
        offset += bytes;
        entries.insert(name, json!({ "dtype": dtype, "shape": shape, "data_offsets": offsets }));
    };
    for planned in plan {
        let bytes = planned.form.bytes();
        match &planned.form {
            Form::Scales { rows } => entry(planned.name.clone(), "F32", &[*rows], bytes),
            Form::Plain { dtype: Dtype::F32 | Dtype::Int8, shape } => {
                entry(planned.name.clone(), "F32", shape, bytes)
            }
            Form::Plain { dtype: Dtype::Bf16, shape } => entry(planned.name.clone(), "BF16", shape, bytes),
            Form::Packed { .. } => entry(planned.name.clone(), "U8", &[bytes], bytes),
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

/// Hashes what it writes.
struct Writer<'a> {
    path: &'a Path,
    file: File,
    hasher: Sha256,
    bytes: u64,
}

impl Writer<'_> {
    fn put(&mut self, bytes: &[u8]) -> Result<(), BuildError> {
        self.file.write_all(bytes).map_err(BuildError::write(self.path))?;
        self.hasher.update(bytes);
        self.bytes += bytes.len() as u64;
        Ok(())
    }

    fn finish(self) -> Result<FileDigest, BuildError> {
        let synced: io::Result<()> = self.file.sync_all();
        synced.map_err(BuildError::write(self.path))?;
        Ok(FileDigest { bytes: self.bytes, sha256: hexadecimal(&self.hasher.finalize()) })
    }
}
