//! [`EngineFiles`]: the files of an engine directory, read into memory of this process while they are verified.
//!
//! A server uses what it has verified and nothing else: what is written into the directory later changes no score.

use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Component, Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use memmap2::{Advice, Mmap, MmapMut};
use sha2::{Digest, Sha256};

use super::digest::{PART_BYTES, READ_BYTES, hexadecimal};
use super::{Damage, FileDigest, Manifest, ManifestError};

/// Files of an engine directory with their content. The memory is private and starts at a page, and nothing writes to
/// it any more.
#[derive(Debug, Default)]
pub struct EngineFiles {
    directory: PathBuf,
    contents: BTreeMap<String, Arc<Mmap>>,
}

impl EngineFiles {
    /// The directory that they were read from.
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// The content of a file.
    pub(crate) fn get(&self, name: &str) -> Option<&Arc<Mmap>> {
        self.contents.get(name)
    }

    /// Reads files without verifying them.
    ///
    /// # Errors
    /// One of them cannot be read.
    pub(crate) fn read_unverified(directory: &Path, names: &[&str]) -> Result<Self, ManifestError> {
        let mut contents = BTreeMap::new();
        for name in names {
            let path = directory.join(name);
            let content = read_file(&path).map_err(|source| ManifestError::Damaged { path, source })?;
            contents.insert((*name).to_owned(), Arc::new(content));
        }
        Ok(Self { directory: directory.to_owned(), contents })
    }
}

impl Manifest {
    /// Reads the files that this manifest lists, checks them against their sizes and digests on all cores, and keeps
    /// those that `keeps` names.
    pub(super) fn read_listed(
        &self,
        directory: &Path,
        keeps: impl Fn(&str) -> bool,
    ) -> Result<EngineFiles, ManifestError> {
        let damaged = |name: &str, source| ManifestError::Damaged { path: directory.join(name), source };
        let mut files = Vec::with_capacity(self.files.len());
        for (name, digest) in &self.files {
            let file = ListedFile::open(directory, name, digest, keeps(name));
            files.push(file.map_err(|damage| damaged(name, damage))?);
        }
        let found =
            check_all(files.iter_mut().enumerate().flat_map(|(index, file)| file.parts(index)).collect());
        if let Some((index, damage)) = found {
            return Err(damaged(files[index].name, damage));
        }
        let mut contents = BTreeMap::new();
        for ListedFile { name, content, .. } in files {
            if let Some(content) = content {
                let content = content.make_read_only().map_err(|error| damaged(name, error.into()))?;
                contents.insert(name.to_owned(), Arc::new(content));
            }
        }
        Ok(EngineFiles { directory: directory.to_owned(), contents })
    }
}

/// A file that the manifest lists, open, of the right size.
struct ListedFile<'a> {
    name: &'a str,
    file: File,
    digest: &'a FileDigest,
    /// Where its content goes, if it is kept.
    content: Option<MmapMut>,
}

impl<'a> ListedFile<'a> {
    fn open(directory: &Path, name: &'a str, digest: &'a FileDigest, keep: bool) -> Result<Self, Damage> {
        let mut components = Path::new(name).components();
        if !matches!((components.next(), components.next()), (Some(Component::Normal(_)), None)) {
            return Err(Damage::Outside);
        }
        let (file, found) = open(&directory.join(name))?;
        if found != digest.bytes {
            return Err(Damage::Size { found, expected: digest.bytes });
        }
        let parts = digest.bytes.div_ceil(PART_BYTES);
        if !digest.parts.is_empty() && digest.parts.len() as u64 != parts {
            return Err(Damage::Parts { found: digest.parts.len(), expected: parts });
        }
        let content = if keep { Some(memory(digest.bytes)?) } else { None };
        Ok(Self { name, file, digest, content })
    }

    /// What can be checked on one core: the whole file, or each part that has a digest.
    fn parts(&mut self, index: usize) -> Vec<Part<'_>> {
        let Self { file, digest, content, .. } = self;
        let (digests, part_bytes) = match &digest.parts[..] {
            [] => (std::slice::from_ref(&digest.sha256), digest.bytes),
            parts => (parts, PART_BYTES),
        };
        let mut content = content.as_deref_mut();
        let mut parts = Vec::with_capacity(digests.len());
        for (number, expected) in digests.iter().enumerate() {
            let from = number as u64 * part_bytes;
            let bytes = part_bytes.min(digest.bytes - from);
            let into = content.take().map(|memory| {
                let (part, rest) = memory.split_at_mut(bytes as usize);
                content = Some(rest);
                part
            });
            parts.push(Part { index, file, from, bytes, expected, into });
        }
        parts
    }
}

/// A part of a file, and its digest.
struct Part<'a> {
    /// Index of the file.
    index: usize,
    file: &'a File,
    from: u64,
    bytes: u64,
    expected: &'a str,
    /// Where its content goes, if it is kept.
    into: Option<&'a mut [u8]>,
}

impl Part<'_> {
    fn check(self) -> Result<(), Damage> {
        let mut hasher = Sha256::new();
        let mut at = self.from;
        if let Some(memory) = self.into {
            for piece in memory.chunks_mut(READ_BYTES) {
                self.file.read_exact_at(piece, at)?;
                hasher.update(&*piece);
                at += piece.len() as u64;
            }
        } else {
            let mut buffer = vec![0; READ_BYTES];
            let end = self.from + self.bytes;
            while at < end {
                let piece = &mut buffer[..READ_BYTES.min((end - at) as usize)];
                self.file.read_exact_at(piece, at)?;
                hasher.update(&*piece);
                at += piece.len() as u64;
            }
        }
        let found = hexadecimal(&hasher.finalize());
        if found == self.expected {
            return Ok(());
        }
        let expected = self.expected.to_owned();
        Err(Damage::Digest { from: self.from, to: self.from + self.bytes, found, expected })
    }
}

/// Checks parts on all cores; the damage of the first damaged file, if any, with its index.
fn check_all(parts: Vec<Part<'_>>) -> Option<(usize, Damage)> {
    let threads = thread::available_parallelism().map_or(1, usize::from).min(parts.len());
    let (parts, damages) = (Mutex::new(parts.into_iter()), Mutex::new(Vec::new()));
    let next = || parts.lock().unwrap_or_else(PoisonError::into_inner).next();
    let work = || {
        while let Some(part) = next() {
            let index = part.index;
            if let Err(damage) = part.check() {
                damages.lock().unwrap_or_else(PoisonError::into_inner).push((index, damage));
            }
        }
    };
    thread::scope(|scope| {
        for _ in 1..threads {
            scope.spawn(work);
        }
        work();
    });
    let damages = damages.into_inner().unwrap_or_else(PoisonError::into_inner);
    damages.into_iter().min_by_key(|(index, _)| *index)
}

/// Opens a regular file; with its size.
fn open(path: &Path) -> Result<(File, u64), Damage> {
    let metadata = match std::fs::metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Err(Damage::Missing),
        metadata => metadata?,
    };
    // Before it is opened: opening a named pipe would wait for a writer.
    if !metadata.is_file() {
        return Err(Damage::NotAFile);
    }
    let file = File::open(path)?;
    let bytes = file.metadata()?.len();
    Ok((file, bytes))
}

/// Private memory of this size, in large pages where the system has them: weights are read again and again.
fn memory(bytes: u64) -> io::Result<MmapMut> {
    let bytes = usize::try_from(bytes).map_err(|_| io::Error::from(io::ErrorKind::OutOfMemory))?;
    let memory = MmapMut::map_anon(bytes)?;
    // Only a hint.
    let _ = memory.advise(Advice::HugePage);
    Ok(memory)
}

fn read_file(path: &Path) -> Result<Mmap, Damage> {
    let (file, bytes) = open(path)?;
    let mut content = memory(bytes)?;
    file.read_exact_at(&mut content, 0)?;
    Ok(content.make_read_only()?)
}
