//! The tensors of a checkpoint: one safetensors file, or shards with an index.

use std::collections::BTreeMap;
use std::fs::File;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use safetensors::{Dtype, SafeTensors};

use super::BuildError;
use super::json::{Object, unreadable};
use crate::engine::mmap::map_file;

const SINGLE_FILE: &str = "model.safetensors";
const INDEX_FILE: &str = "model.safetensors.index.json";

/// A checkpoint's tensors. Their numbers are read only when they are needed.
pub(super) struct Checkpoint {
    shards: Vec<Shard>,
    tensors: BTreeMap<String, Place>,
    /// The file that errors about missing tensors name.
    listing: PathBuf,
}

struct Shard {
    path: PathBuf,
    file: File,
}

struct Place {
    shard: usize,
    dtype: Dtype,
    shape: Vec<usize>,
    offset: u64,
}

/// One tensor as the checkpoint holds it.
#[derive(Clone, Copy)]
pub(super) struct Tensor<'a> {
    pub(super) name: &'a str,
    /// Its file.
    pub(super) path: &'a Path,
    pub(super) dtype: Dtype,
    pub(super) shape: &'a [usize],
    file: &'a File,
    /// Where in the file its elements start; they are row-major and little-endian.
    offset: u64,
    elements: usize,
    /// Elements of one row.
    row: usize,
    /// Elements from the start of one row to that of the next; more than `row` if only some columns are taken.
    pitch: usize,
}

impl Tensor<'_> {
    pub(super) fn elements(&self) -> usize {
        self.elements
    }

    pub(super) fn row_count(&self) -> usize {
        self.elements / self.row.max(1)
    }

    /// Some of its rows, as a tensor.
    pub(super) fn rows(&self, rows: Range<usize>) -> Self {
        let width = self.dtype.bitsize() / 8;
        let offset = self.offset + (rows.start * self.pitch * width) as u64;
        Self { offset, elements: rows.len() * self.row, ..*self }
    }

    /// Some of its columns, as a tensor.
    pub(super) fn columns(&self, columns: Range<usize>) -> Self {
        let width = self.dtype.bitsize() / 8;
        let offset = self.offset + (columns.start * width) as u64;
        Self { offset, elements: self.row_count() * columns.len(), row: columns.len(), ..*self }
    }

    /// Reads a run of its elements, each `width` bytes, into `bytes`.
    pub(super) fn read(
        &self,
        elements: &Range<usize>,
        width: usize,
        bytes: &mut Vec<u8>,
    ) -> Result<(), BuildError> {
        bytes.resize(elements.len() * width, 0);
        let read = |bytes: &mut [u8], element: usize| {
            let offset = self.offset + (element * width) as u64;
            self.file.read_exact_at(bytes, offset).map_err(|error| unreadable(self.path, &error))
        };
        if self.row == self.pitch {
            return read(bytes, elements.start);
        }
        let (mut element, mut rest) = (elements.start, &mut bytes[..]);
        while element < elements.end {
            let (row, column) = (element / self.row, element % self.row);
            let count = (self.row - column).min(elements.end - element);
            let (run, after) = rest.split_at_mut(count * width);
            read(run, row * self.pitch + column)?;
            (element, rest) = (element + count, after);
        }
        Ok(())
    }
}

impl Checkpoint {
    /// Finds the tensors of the checkpoint in `directory`. A single file takes precedence over shards, as it does in
    /// transformers.
    pub(super) fn open(directory: &Path) -> Result<Self, BuildError> {
        let (single, index) = (directory.join(SINGLE_FILE), directory.join(INDEX_FILE));
        if single.exists() {
            let mut checkpoint = Self { shards: vec![], tensors: BTreeMap::new(), listing: single.clone() };
            checkpoint.add(single)?;
            Ok(checkpoint)
        } else if index.exists() {
            Self::open_shards(directory, &index)
        } else {
            Err(no_safetensors(directory))
        }
    }

    fn open_shards(directory: &Path, index: &Path) -> Result<Self, BuildError> {
        let object = Object::read(index)?;
        let listed: BTreeMap<String, String> = object.required("weight_map")?;
        let mut checkpoint = Self { shards: vec![], tensors: BTreeMap::new(), listing: index.to_owned() };
        let mut shard_names: Vec<&String> = listed.values().collect();
        shard_names.sort();
        shard_names.dedup();
        for name in shard_names {
            if Path::new(name).file_name().is_none_or(|file| file != name.as_str()) {
                return Err(
                    object.error("weight_map", &format!("{name} is not a file in the same directory"))
                );
            }
            checkpoint.add(directory.join(name))?;
        }
        for (tensor, shard) in &listed {
            let path = directory.join(shard);
            match checkpoint.tensors.get(tensor) {
                Some(place) if checkpoint.shards[place.shard].path == path => {}
                _ => {
                    let reason = format!("is not in this file, where {INDEX_FILE} says it is");
                    return Err(BuildError::tensor(&path, tensor, reason));
                }
            }
        }
        Ok(checkpoint)
    }

    fn add(&mut self, path: PathBuf) -> Result<(), BuildError> {
        let cannot = |error: std::io::Error| match error.kind() {
            std::io::ErrorKind::NotFound => {
                BuildError::checkpoint(&path, format!("it is missing, but {INDEX_FILE} names it"))
            }
            _ => unreadable(&path, &error),
        };
        let file = File::open(&path).map_err(cannot)?;
        // Only the header is read through the map. Elements are read with system calls, so that no more of a
        // checkpoint is in memory than is being converted, and a disk error is an error and not a signal.
        let map = map_file(&path).map_err(cannot)?;
        let damaged = |error| {
            let reason = format!("it is cut off or not a safetensors file ({error}); download it again");
            BuildError::checkpoint(&path, reason)
        };
        let (header, metadata) = SafeTensors::read_metadata(&map).map_err(damaged)?;
        let data = header + size_of::<u64>();
        for (name, info) in metadata.tensors() {
            let place = Place {
                shard: self.shards.len(),
                dtype: info.dtype,
                shape: info.shape.clone(),
                offset: (data + info.data_offsets.0) as u64,
            };
            if let Some(other) = self.tensors.insert(name.clone(), place) {
                let reason = format!("is also in {}; remove one", self.shards[other.shard].path.display());
                return Err(BuildError::tensor(&path, &name, reason));
            }
        }
        self.shards.push(Shard { path, file });
        Ok(())
    }

    /// Renames the tensors, and leaves out those without a new name. Returns how many those are.
    pub(super) fn rename(&mut self, new_name: impl Fn(&str) -> Option<String>) -> usize {
        let before = self.tensors.len();
        for (name, place) in std::mem::take(&mut self.tensors) {
            if let Some(name) = new_name(&name) {
                self.tensors.insert(name, place);
            }
        }
        before - self.tensors.len()
    }

    /// The file that should list every tensor.
    pub(super) fn listing(&self) -> &Path {
        &self.listing
    }

    pub(super) fn tensor(&self, name: &str) -> Option<Tensor<'_>> {
        let (name, place) = self.tensors.get_key_value(name)?;
        let shard = &self.shards[place.shard];
        let elements = place.shape.iter().product();
        let row = elements / place.shape.first().copied().unwrap_or(1).max(1);
        Some(Tensor {
            name,
            path: &shard.path,
            dtype: place.dtype,
            shape: &place.shape,
            file: &shard.file,
            offset: place.offset,
            elements,
            row,
            pitch: row,
        })
    }

    /// Every tensor, by name.
    pub(super) fn tensors(&self) -> impl Iterator<Item = Tensor<'_>> {
        self.tensors.keys().filter_map(|name| self.tensor(name))
    }
}

/// The error for a directory with neither file nor index. Most often its weights are in another format.
fn no_safetensors(directory: &Path) -> BuildError {
    let names: Vec<String> = std::fs::read_dir(directory)
        .map(|entries| {
            entries.flatten().map(|entry| entry.file_name().to_string_lossy().into_owned()).collect()
        })
        .unwrap_or_default();
    let missing = format!("there is neither {SINGLE_FILE} nor {INDEX_FILE}");
    let hint = if names.iter().any(|name| name == "adapter_model.safetensors") {
        "; this is an adapter: merge it into its base model and save that (`merge_and_unload`, then `save_pretrained`)"
    } else if names.iter().any(|name| name.ends_with(".bin") || name.ends_with(".pt")) {
        ", only PyTorch's own format; convert it to safetensors: load it with transformers and call \
         `save_pretrained(directory, safe_serialization=True)`"
    } else {
        "; --model must name a directory with a Hugging Face checkpoint"
    };
    BuildError::checkpoint(directory, missing + hint)
}
