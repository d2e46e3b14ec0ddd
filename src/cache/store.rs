//! The folder of cached engines: `engines/NAME` is an engine directory, and `engines/NAME.lock` a file that processes
//! lock while they build or use the engine, and that holds the path of the checkpoint.
//!
//! The time of the last change of the lock file is that of the last use.

use std::fs::{File, TryLockError};
use std::io;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use super::ModelError;
use crate::manifest::{MANIFEST_FILE, Manifest};

/// Folder for the cache, if it is not in the user's own.
const FOLDER: &str = "ASSAY_CACHE";
/// Variable with the size above which old engines are removed.
const MAX_BYTES: &str = "ASSAY_CACHE_MAX_BYTES";
const DEFAULT_MAX_BYTES: u64 = 100 << 30;
/// What the hidden directories of builds have in their names.
const STAGING: &str = ".build-engine-";

/// The cache.
pub(super) struct Store {
    pub(super) engines: PathBuf,
    /// Engines are removed, the least recently used first, while they take more than this.
    pub(super) max_bytes: u64,
}

/// A lock on an engine in the cache. While it is held, the engine is not removed.
pub(super) struct InUse {
    _lock: File,
}

/// The folder of the cache, by the variables of the environment. As XDG's specification demands, a relative
/// `XDG_CACHE_HOME` is ignored; and so is a home that does not exist, which root could create in a wrong place.
fn folder(variable: impl Fn(&str) -> Option<PathBuf>) -> Option<PathBuf> {
    let shared =
        || variable("XDG_CACHE_HOME").filter(|cache| cache.is_absolute()).map(|cache| cache.join("assay"));
    let home = || variable("HOME").filter(|home| home.is_dir()).map(|home| home.join(".cache/assay"));
    variable(FOLDER).or_else(shared).or_else(home)
}

/// An engine in the cache.
pub(super) struct Cached {
    pub(super) name: String,
    pub(super) directory: PathBuf,
    pub(super) bytes: u64,
    pub(super) last_used: SystemTime,
    /// The checkpoint that it was built from.
    pub(super) source: String,
    /// `None` if the manifest cannot be read.
    pub(super) manifest: Option<Manifest>,
}

impl Store {
    /// The cache that the environment names.
    ///
    /// # Errors
    /// No place for it is known, or a variable is wrong.
    pub(super) fn from_environment() -> Result<Self, ModelError> {
        let variable = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty());
        let folder = folder(|name| variable(name).map(PathBuf::from));
        let max_bytes = match variable(MAX_BYTES) {
            Some(value) => {
                let value = value.to_string_lossy().into_owned();
                value.trim().parse().map_err(|_| ModelError::MaxBytes { value })?
            }
            None => DEFAULT_MAX_BYTES,
        };
        Ok(Self { engines: folder.ok_or(ModelError::NoCache)?.join("engines"), max_bytes })
    }

    /// The engine `name`, built first if the cache does not have it. If several processes want it at once, one builds
    /// it, and the others wait; `wait` is called before that.
    ///
    /// # Errors
    /// The build fails, or the cache cannot be written.
    pub(super) fn engine(
        &self,
        name: &str,
        source: &Path,
        wait: &dyn Fn(),
        build: &dyn Fn(&Path) -> Result<(), ModelError>,
    ) -> Result<(PathBuf, InUse), ModelError> {
        std::fs::create_dir_all(&self.engines).map_err(ModelError::cache(&self.engines))?;
        let directory = self.engines.join(name);
        let (path, lock) = self.lock_file(name)?;
        loop {
            lock_or_wait(&lock, Mode::Use, wait).map_err(ModelError::cache(&path))?;
            if Manifest::read(&directory).is_ok() {
                // A cache that cannot be written is used as it is.
                let _ = lock.set_modified(SystemTime::now());
                self.trim();
                return Ok((directory, InUse { _lock: lock }));
            }
            unlock(&lock).map_err(ModelError::cache(&path))?;
            lock_or_wait(&lock, Mode::Build, wait).map_err(ModelError::cache(&path))?;
            if Manifest::read(&directory).is_err() {
                remove(&directory).map_err(ModelError::cache(&directory))?;
                std::fs::write(&path, source.to_string_lossy().as_bytes())
                    .map_err(ModelError::cache(&path))?;
                build(&directory)?;
            }
            // Between releasing the exclusive lock and taking a shared one, another process may remove the engine, so
            // look for it again.
            unlock(&lock).map_err(ModelError::cache(&path))?;
        }
    }

    /// The engines, the last used first.
    pub(super) fn list(&self) -> Vec<Cached> {
        let mut found: Vec<Cached> = std::fs::read_dir(&self.engines)
            .into_iter()
            .flatten()
            .flatten()
            .filter(|entry| entry.path().join(MANIFEST_FILE).exists())
            .filter(|entry| !entry.file_name().to_string_lossy().starts_with('.'))
            .map(|entry| self.cached(&entry.file_name().to_string_lossy()))
            .collect();
        found.sort_by(|a, b| b.last_used.cmp(&a.last_used).then_with(|| a.name.cmp(&b.name)));
        found
    }

    /// Removes an engine.
    ///
    /// # Errors
    /// There is none of this name, it is in use, or it cannot be removed.
    pub(super) fn remove(&self, name: &str) -> Result<(), ModelError> {
        let name = name.to_owned();
        if !self.list().iter().any(|cached| cached.name == name) {
            return Err(ModelError::NotCached { name });
        }
        if self.remove_unused(&name)? { Ok(()) } else { Err(ModelError::InUse { name }) }
    }

    /// Removes what killed builds left, then the engines that were not used for longest, until the rest is within the
    /// limit. Engines in use stay.
    fn trim(&self) {
        self.remove_leftovers();
        let mut engines = self.list();
        let mut bytes: u64 = engines.iter().map(|cached| cached.bytes).sum();
        while bytes > self.max_bytes {
            let Some(oldest) = engines.pop() else { return };
            if let Ok(true) = self.remove_unused(&oldest.name) {
                bytes -= oldest.bytes;
            }
        }
    }

    fn remove_leftovers(&self) {
        for entry in std::fs::read_dir(&self.engines).into_iter().flatten().flatten() {
            let name = entry.file_name().to_string_lossy().into_owned();
            let is_staging = name.starts_with('.') && name.contains(STAGING);
            // The process that builds holds a lock for as long as it runs.
            if is_staging && File::open(entry.path()).is_ok_and(|directory| directory.try_lock().is_ok()) {
                let _ = std::fs::remove_dir_all(entry.path());
            }
        }
    }

    /// Removes an engine unless it is in use; returns whether it did.
    fn remove_unused(&self, name: &str) -> Result<bool, ModelError> {
        let (path, lock) = self.lock_file(name)?;
        match lock.try_lock() {
            Err(TryLockError::WouldBlock) => return Ok(false),
            Err(TryLockError::Error(error)) if error.kind() != io::ErrorKind::Unsupported => {
                return Err(ModelError::cache(&path)(error));
            }
            _ => {}
        }
        let directory = self.engines.join(name);
        remove(&directory).map_err(ModelError::cache(&directory))?;
        Ok(true)
    }

    fn lock_file(&self, name: &str) -> Result<(PathBuf, File), ModelError> {
        let path = self.engines.join(format!("{name}.lock"));
        let options = File::options().read(true).append(true).create(true).open(&path);
        // A cache that is mounted for reading may have the engine.
        let file = options.or_else(|error| File::open(&path).map_err(|_| error));
        let file = file.map_err(ModelError::cache(&path))?;
        Ok((path, file))
    }

    fn cached(&self, name: &str) -> Cached {
        let directory = self.engines.join(name);
        let lock = self.engines.join(format!("{name}.lock"));
        let manifest = Manifest::read(&directory).ok();
        let files = std::fs::read_dir(&directory).into_iter().flatten().flatten();
        Cached {
            name: name.to_owned(),
            bytes: files.filter_map(|file| Some(file.metadata().ok()?.len())).sum(),
            last_used: std::fs::metadata(&lock)
                .and_then(|metadata| metadata.modified())
                .unwrap_or(SystemTime::UNIX_EPOCH),
            source: std::fs::read_to_string(&lock).unwrap_or_default(),
            directory,
            manifest,
        }
    }
}

/// What a process locks an engine for.
#[derive(Clone, Copy)]
enum Mode {
    Use,
    Build,
}

/// Locks the file, and calls `wait` first if another process holds it. Does nothing on file systems without locks.
fn lock_or_wait(file: &File, mode: Mode, wait: &dyn Fn()) -> io::Result<()> {
    let tried = match mode {
        Mode::Use => file.try_lock_shared(),
        Mode::Build => file.try_lock(),
    };
    match tried {
        Ok(()) => Ok(()),
        Err(TryLockError::WouldBlock) => {
            wait();
            match mode {
                Mode::Use => file.lock_shared(),
                Mode::Build => file.lock(),
            }
        }
        Err(TryLockError::Error(error)) => without_locks(error),
    }
}

fn unlock(file: &File) -> io::Result<()> {
    file.unlock().or_else(without_locks)
}

fn without_locks(error: io::Error) -> io::Result<()> {
    if error.kind() == io::ErrorKind::Unsupported { Ok(()) } else { Err(error) }
}

fn remove(directory: &Path) -> io::Result<()> {
    match std::fs::remove_dir_all(directory) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_cache_is_in_no_relative_folder_and_in_no_home_that_does_not_exist() {
        let home = tempfile::tempdir().unwrap();
        let home = home.path().to_str().unwrap();
        let found = |variables: &[(&str, &str)]| {
            folder(|name| {
                variables.iter().find(|(known, _)| *known == name).map(|(_, value)| PathBuf::from(value))
            })
        };
        let in_home = Some(Path::new(home).join(".cache/assay"));
        assert_eq!(
            found(&[("ASSAY_CACHE", "x"), ("XDG_CACHE_HOME", "/y"), ("HOME", home)]),
            Some("x".into())
        );
        assert_eq!(found(&[("XDG_CACHE_HOME", "/y"), ("HOME", home)]), Some("/y/assay".into()));
        assert_eq!(found(&[("XDG_CACHE_HOME", "relative"), ("HOME", home)]), in_home);
        assert_eq!(found(&[("HOME", home)]), in_home);
        assert_eq!(found(&[("HOME", "/nonexistent")]), None);
        assert_eq!(found(&[("XDG_CACHE_HOME", "relative")]), None);
    }
}
