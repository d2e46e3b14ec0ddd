//! Makes the output directory appear whole or not at all: it is written under a hidden name in the same parent and
//! renamed when every byte is on the disk.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;

use super::{BuildError, OutputError};

/// A temporary directory: publishing it makes it the output, otherwise it is removed.
pub(super) struct Staging {
    directory: TempDir,
    output: PathBuf,
    parent: PathBuf,
    /// Held during the build, so that another build can tell a directory in use from one that a killed process left.
    /// Some file systems have no locks; nothing is removed there.
    _lock: Option<File>,
}

impl Staging {
    /// Makes a staging directory for `output`, after removing those that killed builds of the same output left.
    ///
    /// # Errors
    /// `output` exists and is not an empty directory, or its parent cannot be written.
    pub(super) fn new(output: &Path) -> Result<Self, BuildError> {
        let output = Self::check(output)?;
        let (Some(parent), Some(name)) = (output.parent(), output.file_name()) else {
            return Err(OutputError::Irreplaceable(output).into());
        };
        std::fs::create_dir_all(parent).map_err(BuildError::write(parent))?;
        let prefix = format!(".{}.build-engine-", name.to_string_lossy());
        remove_leftovers(parent, &prefix);
        let directory =
            tempfile::Builder::new().prefix(&prefix).tempdir_in(parent).map_err(BuildError::write(parent))?;
        let lock = File::open(directory.path()).ok().filter(|file| file.try_lock().is_ok());
        Ok(Self { directory, parent: parent.to_owned(), _lock: lock, output })
    }

    /// The absolute path of `output`.
    ///
    /// # Errors
    /// It exists and is not an empty directory.
    pub(super) fn check(output: &Path) -> Result<PathBuf, BuildError> {
        let output = std::path::absolute(output).map_err(BuildError::write(output))?;
        refuse_existing(&output)?;
        Ok(output)
    }

    /// Refuses a disk with less free space than `bytes`, if `df` reports how much there is.
    pub(super) fn check_space(&self, bytes: u64) -> Result<(), BuildError> {
        let listed = Command::new("df").args(["-Pk", "--"]).arg(self.path()).output();
        let free = listed.ok().and_then(|listed| {
            let listed = String::from_utf8_lossy(&listed.stdout).into_owned();
            listed.lines().last()?.split_whitespace().nth(3)?.parse::<u64>().ok()
        });
        match free {
            Some(kilobytes) if kilobytes * 1024 < bytes => {
                let (output, free) = (self.output.clone(), kilobytes * 1024);
                Err(OutputError::Full { output, needed: bytes, free }.into())
            }
            _ => Ok(()),
        }
    }

    pub(super) fn path(&self) -> &Path {
        self.directory.path()
    }

    /// Makes a subdirectory.
    pub(super) fn folder(&self, name: &str) -> Result<PathBuf, BuildError> {
        let path = self.join(name);
        std::fs::create_dir(&path).map_err(BuildError::write(&path))?;
        Ok(path)
    }

    /// The path of a file in it.
    pub(super) fn join(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// Writes a small file and waits until it is on the disk.
    pub(super) fn write(&self, name: &str, content: &[u8]) -> Result<(), BuildError> {
        let path = self.join(name);
        let written = || -> io::Result<()> {
            std::fs::write(&path, content)?;
            File::open(&path)?.sync_all()
        };
        written().map_err(BuildError::write(&path))
    }

    /// Renames it to the output.
    pub(super) fn publish(self) -> Result<(), BuildError> {
        let renamed = || -> io::Result<()> {
            File::open(self.directory.path())?.sync_all()?;
            std::fs::rename(self.directory.path(), &self.output)?;
            File::open(&self.parent)?.sync_all()
        };
        renamed().map_err(BuildError::write(&self.output))?;
        // Under its old name there is nothing left to remove.
        let _ = self.directory.keep();
        Ok(())
    }
}

fn refuse_existing(output: &Path) -> Result<(), BuildError> {
    match std::fs::symlink_metadata(output) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(BuildError::write(output)(error)),
        Ok(metadata) if !metadata.is_dir() => Err(OutputError::NotADirectory(output.to_owned()).into()),
        Ok(_) => match std::fs::read_dir(output).map_err(BuildError::write(output))?.next() {
            None => Ok(()),
            Some(_) => Err(OutputError::NotEmpty(output.to_owned()).into()),
        },
    }
}

/// Removes what it can. Whatever is left is hidden and does no harm.
fn remove_leftovers(parent: &Path, prefix: &str) {
    for entry in std::fs::read_dir(parent).into_iter().flatten().flatten() {
        let left = entry.file_name().to_string_lossy().starts_with(prefix)
            && entry.file_type().is_ok_and(|kind| kind.is_dir());
        // The process that made it holds the lock for as long as it runs.
        if left && File::open(entry.path()).is_ok_and(|file| file.try_lock().is_ok()) {
            let _ = std::fs::remove_dir_all(entry.path());
        }
    }
}
