//! Writes `rankN.safetensors`, tensor by tensor. Only a run of numbers, or the few rows that are quantized together,
//! and the scales of one matrix are in memory at a time.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::Path;

use half::bf16;
use serde_json::{Map, Value, json};

use super::quantize::Format;
use super::rank_tensor::{Entry, RankTensor};
use crate::builder::convert::{self, Converter};
use crate::builder::{BuildError, Progress};
use crate::manifest::Dtype;

/// Writes the tensors to `path`, which must not exist.
///
/// # Errors
/// The file cannot be written, a number is not finite, or the build was interrupted.
pub(super) fn write(
    path: &Path,
    tensors: &[RankTensor<'_>],
    progress: &dyn Progress,
) -> Result<(), BuildError> {
    let entries: Vec<Entry> = tensors.iter().flat_map(RankTensor::entries).collect();
    let mut writer = Writer::new(path, &entries, progress)?;
    for tensor in tensors {
        writer.tensor(tensor)?;
    }
    writer.finish()
}

/// A safetensors file. Its header is written first, then its tensors in the header's order.
pub(super) struct Writer<'w> {
    path: &'w Path,
    file: BufWriter<File>,
    progress: &'w dyn Progress,
}

impl<'w> Writer<'w> {
    /// Writes the header.
    pub(super) fn new(
        path: &'w Path,
        entries: &[Entry],
        progress: &'w dyn Progress,
    ) -> Result<Self, BuildError> {
        let file = BufWriter::new(File::create_new(path).map_err(BuildError::write(path))?);
        let mut writer = Self { path, file, progress };
        writer.put(&header(entries))?;
        Ok(writer)
    }

    /// Writes bytes of a tensor.
    pub(super) fn put(&mut self, bytes: &[u8]) -> Result<(), BuildError> {
        self.file.write_all(bytes).map_err(BuildError::write(self.path))
    }

    /// Writes a tensor, converted.
    pub(super) fn tensor(&mut self, tensor: &RankTensor<'_>) -> Result<(), BuildError> {
        match (tensor.format, &tensor.shape[..]) {
            (Some(format), &[_, inp]) => self.quantized(tensor, format, inp)?,
            _ => self.plain(tensor)?,
        }
        self.progress.tensor(&tensor.name);
        Ok(())
    }

    /// Waits until everything is on the disk.
    pub(super) fn finish(self) -> Result<(), BuildError> {
        let path = self.path;
        let file = self.file.into_inner().map_err(|error| BuildError::write(path)(error.into_error()))?;
        file.sync_all().map_err(BuildError::write(path))
    }

    fn plain(&mut self, tensor: &RankTensor<'_>) -> Result<(), BuildError> {
        let subtract = tensor.subtract.as_ref().map(convert::values).transpose()?;
        let mut rest = convert::width(tensor.dtype) * tensor.shape.iter().product::<usize>();
        let changed = tensor.offset != 0.0 || tensor.scale != 1.0 || subtract.is_some();
        let progress = self.progress;
        let mut converter = Converter::new(if changed { Dtype::F32 } else { tensor.dtype }, progress);
        for part in &tensor.parts {
            let mut index = 0;
            converter.convert(part, |run| {
                let rounded = changed.then(|| rounded(run, tensor, subtract.as_deref(), index));
                let bytes = rounded.as_deref().unwrap_or(run);
                index += bytes.len() / 2;
                rest -= bytes.len();
                self.put(bytes)?;
                progress.written(bytes.len() as u64);
                Ok(())
            })?;
        }
        self.zeros(rest)
    }

    fn zeros(&mut self, mut count: usize) -> Result<(), BuildError> {
        let zeros = vec![0; count.min(1 << 20)];
        while count > 0 {
            if self.progress.interrupted() {
                return Err(BuildError::Interrupted);
            }
            let run = &zeros[..count.min(zeros.len())];
            self.put(run)?;
            self.progress.written(run.len() as u64);
            count -= run.len();
        }
        Ok(())
    }

    fn quantized(&mut self, tensor: &RankTensor<'_>, format: Format, inp: usize) -> Result<(), BuildError> {
        let together = format.rows() * inp;
        let progress = self.progress;
        let (mut rows, mut weights, mut scales) = (Vec::new(), Vec::new(), Vec::new());
        let mut converter = Converter::new(Dtype::F32, progress);
        for part in &tensor.parts {
            converter.convert(part, |run| {
                rows.extend(run.as_chunks::<4>().0.iter().map(|&bytes| f32::from_le_bytes(bytes)));
                let whole = rows.len() / together * together;
                for group in rows[..whole].chunks(together) {
                    format.quantize(group, inp, &mut weights, &mut scales);
                }
                rows.drain(..whole);
                self.put(&weights)?;
                progress.written(weights.len() as u64);
                weights.clear();
                Ok(())
            })?;
        }
        self.put(&scales)?;
        progress.written(scales.len() as u64);
        Ok(())
    }
}

/// `(run + offset - subtract) * scale` in f32, rounded to bf16. `index` is where in its part the run starts; the rows of
/// a part have the length of `subtract`.
fn rounded(run: &[u8], tensor: &RankTensor<'_>, subtract: Option<&[f32]>, index: usize) -> Vec<u8> {
    let &RankTensor { offset, scale, .. } = tensor;
    let mut bytes = Vec::with_capacity(run.len() / 2);
    for (place, &value) in run.as_chunks::<4>().0.iter().enumerate() {
        let subtracted = subtract.map_or(0.0, |row| row[(index + place) % row.len()]);
        let changed = (f32::from_le_bytes(value) + offset - subtracted) * scale;
        bytes.extend(bf16::from_f32(changed).to_le_bytes());
    }
    bytes
}

/// The header's length, then the header, padded so that the data starts at a multiple of 8 bytes.
fn header(entries: &[Entry]) -> Vec<u8> {
    let mut listed = Map::new();
    listed.insert("__metadata__".to_owned(), json!({ "format": "pt" }));
    let mut offset = 0;
    for Entry { name, dtype, shape, bytes } in entries {
        let offsets = [offset, offset + bytes];
        offset += bytes;
        listed.insert(name.clone(), json!({ "dtype": dtype, "shape": shape, "data_offsets": offsets }));
    }
    let mut text = Value::Object(listed).to_string().into_bytes();
    text.resize(text.len().next_multiple_of(8), b' ');
    let mut header = (text.len() as u64).to_le_bytes().to_vec();
    header.append(&mut text);
    header
}
