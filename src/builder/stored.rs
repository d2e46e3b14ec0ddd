//! Tensors as files hold them.

use std::fs::File;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use half::{bf16, f16};
use safetensors::{Dtype, SafeTensors};

use super::BuildError;
use super::json::{LFS_POINTER, unreadable};
use crate::engine::mmap::map_file;

/// How to convert the weights in a directory that only Python's pickle can read.
pub(super) fn convert(directory: &Path) -> String {
    format!(
        "convert it to safetensors with `python3 tools/bin_to_safetensors.py {}`, which runs nothing that the file contains",
        directory.display()
    )
}

/// An open safetensors file.
pub(super) struct Shard {
    pub(super) path: PathBuf,
    file: File,
}

/// Where a tensor is.
#[derive(Clone)]
pub(super) struct Stored {
    place: Place,
    pub(super) dtype: Dtype,
    pub(super) shape: Vec<usize>,
}

#[derive(Clone)]
enum Place {
    /// In a file, where its elements start there; they are row-major and little-endian. They are read only when they
    /// are needed.
    File { shard: Arc<Shard>, offset: u64 },
    /// In memory, in F32, computed from tensors of this file.
    Memory { path: PathBuf, values: Arc<[f32]> },
}

impl Stored {
    /// The file.
    pub(super) fn path(&self) -> &Path {
        match &self.place {
            Place::File { shard, .. } => &shard.path,
            Place::Memory { path, .. } => path,
        }
    }

    /// A tensor of these numbers, computed from tensors of the file `path`.
    pub(super) fn computed(path: &Path, shape: Vec<usize>, values: Vec<f32>) -> Self {
        let place = Place::Memory { path: path.to_owned(), values: values.into() };
        Self { place, dtype: Dtype::F32, shape }
    }

    pub(super) fn elements(&self) -> usize {
        self.shape.iter().product()
    }

    /// Elements of one row: of everything that one index of the first dimension selects.
    pub(super) fn columns(&self) -> usize {
        self.shape.iter().skip(1).product()
    }

    /// Reads elements of `width` bytes from the element `first` on, until `bytes` is full.
    pub(super) fn read(&self, first: usize, width: usize, bytes: &mut [u8]) -> Result<(), BuildError> {
        match &self.place {
            Place::File { shard, offset } => {
                let offset = offset + (first * width) as u64;
                shard.file.read_exact_at(bytes, offset).map_err(|error| unreadable(&shard.path, &error))
            }
            Place::Memory { values, .. } => {
                for (target, value) in bytes.chunks_mut(size_of::<f32>()).zip(&values[first..]) {
                    target.copy_from_slice(&value.to_le_bytes());
                }
                Ok(())
            }
        }
    }

    /// Some of its elements in f32. `None` if they are of another type than F64, F32, BF16 and F16.
    pub(super) fn floats(&self, elements: Range<usize>) -> Result<Option<Vec<f32>>, BuildError> {
        let width = self.dtype.bitsize() / 8;
        let mut bytes = vec![0; elements.len() * width];
        self.read(elements.start, width, &mut bytes)?;
        let halves = bytes.as_chunks::<2>().0;
        Ok(match self.dtype {
            Dtype::F32 => {
                Some(bytes.as_chunks::<4>().0.iter().map(|&four| f32::from_le_bytes(four)).collect())
            }
            Dtype::F64 => {
                Some(bytes.as_chunks::<8>().0.iter().map(|&eight| f64::from_le_bytes(eight) as f32).collect())
            }
            Dtype::BF16 => Some(halves.iter().map(|&two| bf16::from_le_bytes(two).to_f32()).collect()),
            Dtype::F16 => Some(halves.iter().map(|&two| f16::from_le_bytes(two).to_f32()).collect()),
            _ => None,
        })
    }
}

/// The tensors of a safetensors file, in the order of their names.
///
/// # Errors
/// The file is missing, which `named_by` explains, or cannot be read.
pub(super) fn open(path: &Path, named_by: Option<&str>) -> Result<Vec<(String, Stored)>, BuildError> {
    let cannot = |error: std::io::Error| match (error.kind(), named_by) {
        (std::io::ErrorKind::NotFound, Some(index)) => {
            BuildError::checkpoint(path, format!("it is missing, but {index} names it"))
        }
        _ => unreadable(path, &error),
    };
    // A FIFO would block until someone writes to it.
    if !std::fs::metadata(path).map_err(cannot)?.is_file() {
        return Err(BuildError::checkpoint(path, "it is not a regular file"));
    }
    let file = File::open(path).map_err(cannot)?;
    // Only the header is read through the map. Elements are read with system calls, so that no more of a checkpoint
    // is in memory than is being converted, and a disk error is an error and not a signal.
    let map = map_file(path).map_err(cannot)?;
    let damaged = |error| BuildError::checkpoint(path, damage(&map, &error));
    let (header, metadata) = SafeTensors::read_metadata(&map).map_err(damaged)?;
    let data = header + size_of::<u64>();
    let shard = Arc::new(Shard { path: path.to_owned(), file });
    let mut tensors: Vec<(String, Stored)> = Vec::new();
    for (name, info) in metadata.tensors() {
        let place = Place::File { shard: shard.clone(), offset: (data + info.data_offsets.0) as u64 };
        tensors.push((name, Stored { place, dtype: info.dtype, shape: info.shape.clone() }));
    }
    tensors.sort_by(|(one, _), (other, _)| one.cmp(other));
    Ok(tensors)
}

/// What is wrong with a file that is not in the format.
fn damage(bytes: &[u8], error: &safetensors::SafeTensorError) -> String {
    if bytes.starts_with(LFS_POINTER) {
        "it is a Git LFS pointer, not the file itself; run `git lfs pull` in the checkpoint's repository, or \
         download it with `hf download`"
            .to_owned()
    } else {
        format!("it is cut off or not a safetensors file ({error}); download it again")
    }
}
