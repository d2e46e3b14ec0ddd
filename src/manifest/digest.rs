//! Sizes and SHA-256 digests of files. Large files have digests of their parts too, so that all cores can check them.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

/// Bytes of every part of a file but its last; less in unit tests, which hash slowly.
pub(crate) const PART_BYTES: u64 = if cfg!(test) { 1 << 20 } else { 256 << 20 };
/// Bytes to read at a time: enough that system calls cost little, and few enough to stay in cache.
pub(super) const READ_BYTES: usize = 256 << 10;

/// Size and digest of one file.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FileDigest {
    /// Size in bytes.
    pub bytes: u64,
    /// SHA-256, lower-case hexadecimal.
    pub sha256: String,
    /// SHA-256 of each part of 256 MiB, the last of which may be shorter. Empty for a file of one part, and in
    /// engines that older versions built.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub parts: Vec<String>,
}

impl FileDigest {
    /// Size and digest of a file with this content.
    pub(crate) fn from_content(content: &[u8]) -> Self {
        let mut hasher = FileHasher::default();
        hasher.update(content);
        hasher.finish()
    }
}

/// Hashes a file that is read or written piece by piece.
#[derive(Default)]
pub(crate) struct FileHasher {
    whole: Sha256,
    /// The part that is being hashed. The first has the same digest as the file so far, so it has no hasher.
    part: Option<Sha256>,
    parts: Vec<String>,
    bytes: u64,
}

impl FileHasher {
    /// Adds the next bytes.
    pub(crate) fn update(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            let in_part = self.bytes % PART_BYTES;
            if in_part == 0 && self.bytes > 0 {
                self.end_part();
            }
            let room = usize::try_from(PART_BYTES - in_part).unwrap_or(usize::MAX);
            let (now, later) = bytes.split_at(bytes.len().min(room));
            self.whole.update(now);
            if let Some(part) = &mut self.part {
                part.update(now);
            }
            self.bytes += now.len() as u64;
            bytes = later;
        }
    }

    fn end_part(&mut self) {
        let ended = self.part.replace(Sha256::new()).unwrap_or_else(|| self.whole.clone());
        self.parts.push(hexadecimal(&ended.finalize()));
    }

    /// Size and digests of everything that was added.
    pub(crate) fn finish(mut self) -> FileDigest {
        if let Some(part) = self.part {
            self.parts.push(hexadecimal(&part.finalize()));
        }
        FileDigest { bytes: self.bytes, sha256: hexadecimal(&self.whole.finalize()), parts: self.parts }
    }
}

/// Reads a file once, for its size and digests.
///
/// # Errors
/// It cannot be read.
pub(crate) fn digest_file(path: &Path) -> io::Result<FileDigest> {
    let mut file = File::open(path)?;
    let mut hasher = FileHasher::default();
    let mut buffer = vec![0; READ_BYTES];
    loop {
        match file.read(&mut buffer) {
            Ok(0) => return Ok(hasher.finish()),
            Ok(read) => hasher.update(&buffer[..read]),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

/// Lower-case hexadecimal.
pub(crate) fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
