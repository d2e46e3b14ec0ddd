//! Safetensors files of an engine, used in place in the memory that they were read into.

use std::io;
use std::ops::Range;
use std::sync::Arc;

use memmap2::Mmap;
use safetensors::SafeTensors;

use super::EngineError;
use crate::manifest::EngineFiles;

/// A safetensors file in memory, and the range of each tensor's bytes in it.
pub(super) struct Weights {
    bytes: Arc<Mmap>,
    tensors: Vec<(String, Range<usize>)>,
}

impl Weights {
    /// Reads the header of an engine's file.
    ///
    /// # Errors
    /// The file is missing or not a safetensors file.
    pub(super) fn parse(files: &EngineFiles, name: &str) -> Result<Self, EngineError> {
        let path = || files.directory().join(name);
        let missing = || EngineError::Unreadable { path: path(), source: io::ErrorKind::NotFound.into() };
        let bytes = files.get(name).ok_or_else(missing)?.clone();
        let (header, metadata) = SafeTensors::read_metadata(&bytes)
            .map_err(|source| EngineError::Malformed { path: path(), source })?;
        let data = header + size_of::<u64>();
        let tensors = metadata
            .tensors()
            .into_iter()
            .map(|(name, info)| (name, data + info.data_offsets.0..data + info.data_offsets.1))
            .collect();
        Ok(Self { bytes, tensors })
    }

    pub(super) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    pub(super) fn tensors(&self) -> &[(String, Range<usize>)] {
        &self.tensors
    }

    /// A copy of a tensor of 32-bit floats.
    pub(super) fn floats(&self, name: &str) -> Option<Vec<f32>> {
        let (_, place) = self.tensors.iter().find(|(found, _)| found == name)?;
        let (numbers, _) = self.bytes.get(place.clone())?.as_chunks::<4>();
        Some(numbers.iter().map(|&bytes| f32::from_le_bytes(bytes)).collect())
    }
}
