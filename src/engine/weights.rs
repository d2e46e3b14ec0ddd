//! Safetensors files of an engine, mapped into memory and used in place.

use std::ops::Range;
use std::path::Path;

use memmap2::Mmap;
use safetensors::SafeTensors;

use super::EngineError;
use super::mmap::map_file;

/// A mapped safetensors file, and the range of each tensor's bytes in it.
pub(super) struct Weights {
    map: Mmap,
    tensors: Vec<(String, Range<usize>)>,
}

impl Weights {
    /// Maps a file of an engine directory and reads its header.
    ///
    /// # Errors
    /// The file is missing or not a safetensors file.
    pub(super) fn map(path: &Path) -> Result<Self, EngineError> {
        let map =
            map_file(path).map_err(|source| EngineError::Unreadable { path: path.to_owned(), source })?;
        let (header, metadata) = SafeTensors::read_metadata(&map)
            .map_err(|source| EngineError::Malformed { path: path.to_owned(), source })?;
        let data = header + size_of::<u64>();
        let tensors = metadata
            .tensors()
            .into_iter()
            .map(|(name, info)| (name, data + info.data_offsets.0..data + info.data_offsets.1))
            .collect();
        Ok(Self { map, tensors })
    }

    pub(super) fn bytes(&self) -> &[u8] {
        &self.map
    }

    pub(super) fn tensors(&self) -> &[(String, Range<usize>)] {
        &self.tensors
    }

    /// A copy of a tensor of 32-bit floats.
    pub(super) fn floats(&self, name: &str) -> Option<Vec<f32>> {
        let (_, place) = self.tensors.iter().find(|(found, _)| found == name)?;
        let (numbers, _) = self.map.get(place.clone())?.as_chunks::<4>();
        Some(numbers.iter().map(|&bytes| f32::from_le_bytes(bytes)).collect())
    }
}
