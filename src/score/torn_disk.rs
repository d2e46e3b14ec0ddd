//! A disk for tests: after a power cut it has what was synced, and any part of the rest, in any order, with torn writes.

use std::collections::BTreeMap;
use std::io::{self, ErrorKind, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard};

use rand::rngs::SmallRng;
use rand::seq::SliceRandom;
use rand::{Rng, SeedableRng};

use super::disk::{Disk, DiskFile};

/// Bytes that are written as a whole or not at all. Real disks have larger sectors, which tear less.
const SECTOR: usize = 16;

/// What goes wrong.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Faults {
    /// The operation, counted from 1, at which the power is cut.
    pub(super) cut: Option<usize>,
    /// The first operation, counted from 1, that finds the disk full.
    pub(super) full: Option<usize>,
    /// No file can be created or changed.
    pub(super) read_only: bool,
}

/// Clones are the same disk.
#[derive(Clone, Default)]
pub(super) struct TornDisk(Arc<Mutex<State>>);

#[derive(Default)]
struct State {
    files: Vec<Contents>,
    /// Index of the file of each name.
    names: BTreeMap<PathBuf, usize>,
    synced_names: BTreeMap<PathBuf, usize>,
    unsynced_names: Vec<NameChange>,
    faults: Faults,
    operations: usize,
    is_off: bool,
}

#[derive(Clone, Default)]
struct Contents {
    bytes: Vec<u8>,
    synced: Vec<u8>,
    unsynced: Vec<Change>,
}

#[derive(Clone)]
enum Change {
    Write { at: usize, bytes: Vec<u8> },
    SetLen(usize),
}

#[derive(Clone)]
enum NameChange {
    Add(PathBuf, usize),
    Rename(PathBuf, PathBuf, usize),
    Remove(PathBuf),
}

fn apply(names: &mut BTreeMap<PathBuf, usize>, change: NameChange) {
    match change {
        NameChange::Add(path, file) => {
            names.insert(path, file);
        }
        NameChange::Rename(from, to, file) => {
            names.remove(&from);
            names.insert(to, file);
        }
        NameChange::Remove(path) => {
            names.remove(&path);
        }
    }
}

fn write_at(contents: &mut Vec<u8>, at: usize, bytes: &[u8]) {
    contents.resize(contents.len().max(at + bytes.len()), 0);
    contents[at..at + bytes.len()].copy_from_slice(bytes);
}

impl Contents {
    /// What a power cut may leave.
    fn survivor(&self, random: &mut SmallRng) -> Vec<u8> {
        let (mut left, mut changes) = (self.synced.clone(), self.unsynced.clone());
        if random.random_bool(0.3) {
            changes.shuffle(random);
        }
        let kept = random.random_range(0.0..=1.0);
        for change in changes {
            match change {
                Change::SetLen(bytes) if random.random_bool(kept) => left.resize(bytes, 0),
                Change::SetLen(_) => {}
                Change::Write { at, bytes } => write_some_sectors(&mut left, at, &bytes, kept, random),
            }
        }
        left
    }
}

/// Writes some sectors of `bytes`. The file may have grown even where a sector was lost.
fn write_some_sectors(left: &mut Vec<u8>, at: usize, bytes: &[u8], kept: f64, random: &mut SmallRng) {
    let mut from = 0;
    while from < bytes.len() {
        let to = bytes.len().min(from + SECTOR - (at + from) % SECTOR);
        if random.random_bool(kept) {
            write_at(left, at + from, &bytes[from..to]);
        } else if random.random_bool(0.5) {
            left.resize(left.len().max(at + to), 0);
        }
        from = to;
    }
}

impl State {
    /// Counts an operation that changes something.
    fn operate(&mut self) -> io::Result<()> {
        if self.is_off {
            return Err(io::Error::other("the power is cut"));
        }
        if self.faults.read_only {
            return Err(ErrorKind::ReadOnlyFilesystem.into());
        }
        self.operations += 1;
        // What happens at the cut is as if it had happened just before: it may survive or not.
        self.is_off = self.faults.cut == Some(self.operations);
        Ok(())
    }

    /// Counts an operation that the caller relies on once it has succeeded: at the cut it has not.
    fn operate_to_end(&mut self) -> io::Result<()> {
        self.operate()?;
        if self.is_off { Err(io::Error::other("the power is cut")) } else { Ok(()) }
    }

    fn has_room(&self) -> bool {
        self.faults.full.is_none_or(|full| self.operations < full)
    }

    fn change_name(&mut self, change: NameChange) {
        self.unsynced_names.push(change.clone());
        apply(&mut self.names, change);
    }

    fn add(&mut self, path: &Path) -> io::Result<usize> {
        self.operate()?;
        if !self.has_room() {
            return Err(ErrorKind::StorageFull.into());
        }
        self.files.push(Contents::default());
        let file = self.files.len() - 1;
        self.change_name(NameChange::Add(path.to_owned(), file));
        Ok(file)
    }

    fn find(&self, path: &Path) -> io::Result<usize> {
        self.names.get(path).copied().ok_or_else(|| ErrorKind::NotFound.into())
    }

    fn change(&mut self, file: usize, change: Change) {
        let contents = &mut self.files[file];
        match &change {
            Change::Write { at, bytes } => write_at(&mut contents.bytes, *at, bytes),
            Change::SetLen(bytes) => contents.bytes.resize(*bytes, 0),
        }
        contents.unsynced.push(change);
    }
}

impl TornDisk {
    /// The same disk, on which `faults` happen from now on.
    pub(super) fn set_faults(&self, faults: Faults) {
        let mut state = self.state();
        (state.faults, state.operations, state.is_off) = (faults, 0, false);
    }

    /// Number of operations since the faults were set.
    pub(super) fn operations(&self) -> usize {
        self.state().operations
    }

    /// The disk as it may be after a power cut now.
    pub(super) fn after_power_cut(&self, seed: u64) -> Self {
        let state = self.state();
        let mut random = SmallRng::seed_from_u64(seed);
        let mut left = State { synced_names: state.synced_names.clone(), ..State::default() };
        for change in &state.unsynced_names {
            if random.random_bool(0.5) {
                apply(&mut left.synced_names, change.clone());
            }
        }
        for contents in &state.files {
            let bytes = contents.survivor(&mut random);
            left.files.push(Contents { synced: bytes.clone(), bytes, unsynced: Vec::new() });
        }
        left.names.clone_from(&left.synced_names);
        Self(Arc::new(Mutex::new(left)))
    }

    /// The files and their bytes.
    pub(super) fn files(&self) -> BTreeMap<PathBuf, Vec<u8>> {
        let state = self.state();
        state.names.iter().map(|(path, &file)| (path.clone(), state.files[file].bytes.clone())).collect()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap()
    }

    fn handle(&self, file: usize) -> Box<dyn DiskFile> {
        Box::new(TornFile { disk: self.clone(), file, position: 0 })
    }
}

impl Disk for TornDisk {
    fn open(&self, path: &Path) -> io::Result<Box<dyn DiskFile>> {
        let file = self.state().find(path)?;
        Ok(self.handle(file))
    }

    fn open_or_create(&self, path: &Path) -> io::Result<Box<dyn DiskFile>> {
        let mut state = self.state();
        let file = state.find(path).or_else(|_| state.add(path))?;
        drop(state);
        Ok(self.handle(file))
    }

    fn create(&self, path: &Path) -> io::Result<Box<dyn DiskFile>> {
        let mut file = self.open_or_create(path)?;
        file.set_len(0)?;
        Ok(file)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut state = self.state();
        state.operate()?;
        let file = state.find(from)?;
        state.change_name(NameChange::Rename(from.to_owned(), to.to_owned(), file));
        Ok(())
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        let mut state = self.state();
        state.operate()?;
        state.find(path)?;
        state.change_name(NameChange::Remove(path.to_owned()));
        Ok(())
    }

    fn sync_name(&self, _: &Path) -> io::Result<()> {
        let mut state = self.state();
        state.operate_to_end()?;
        state.unsynced_names.clear();
        state.synced_names = state.names.clone();
        Ok(())
    }
}

struct TornFile {
    disk: TornDisk,
    file: usize,
    position: usize,
}

impl Read for TornFile {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let state = self.disk.state();
        let bytes = &state.files[self.file].bytes;
        let read = (&bytes[self.position.min(bytes.len())..]).read(buffer)?;
        self.position += read;
        Ok(read)
    }
}

impl Write for TornFile {
    fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
        let mut state = self.disk.state();
        state.operate()?;
        // A disk gets full in the middle of a write.
        let full_now = state.faults.full == Some(state.operations);
        let written = if full_now { buffer.len() / 2 } else { buffer.len() };
        if written == 0 || !(full_now || state.has_room()) {
            return Err(ErrorKind::StorageFull.into());
        }
        state.change(self.file, Change::Write { at: self.position, bytes: buffer[..written].to_vec() });
        self.position += written;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Seek for TornFile {
    fn seek(&mut self, position: SeekFrom) -> io::Result<u64> {
        let end = self.disk.state().files[self.file].bytes.len() as i64;
        let position = match position {
            SeekFrom::Start(position) => position as i64,
            SeekFrom::End(offset) => end + offset,
            SeekFrom::Current(offset) => self.position as i64 + offset,
        };
        self.position = usize::try_from(position).map_err(|_| ErrorKind::InvalidInput)?;
        Ok(self.position as u64)
    }
}

impl DiskFile for TornFile {
    fn try_lock(&self) -> bool {
        true
    }

    fn set_len(&mut self, bytes: u64) -> io::Result<()> {
        let mut state = self.disk.state();
        state.operate()?;
        state.change(self.file, Change::SetLen(bytes as usize));
        Ok(())
    }

    fn sync(&mut self) -> io::Result<()> {
        let mut state = self.disk.state();
        state.operate_to_end()?;
        let contents = &mut state.files[self.file];
        contents.synced.clone_from(&contents.bytes);
        contents.unsynced.clear();
        Ok(())
    }
}
