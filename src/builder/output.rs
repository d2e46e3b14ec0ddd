//! The output directory appears whole or not at all: it is written under a hidden name beside it and
//! renamed when every byte is on the disk.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;

use indicatif::HumanBytes;
use tempfile::TempDir;

use super::BuildError;

/// A directory that becomes the output when it is published, and is removed when it is not.
pub(super) struct Staging {
    directory: TempDir,
    output: PathBuf,
    parent: PathBuf,
    /// Held while the build lives, so that another build can tell a directory in use from one that was
    /// left behind by a killed process. Some file systems know no locks: there nothing is removed.
    _lock: Option<File>,
}

impl Staging {
    /// Makes a staging directory for `output`, after removing those that killed builds of the same
    /// output have left.
    ///
    /// # Errors
    /// `output` is there already and not an empty directory, or its parent cannot be written.
    pub(super) fn new(output: &Path) -> Result<Self, BuildError> {
        let output = Self::check(output)?;
        let (Some(parent), Some(name)) = (output.parent(), output.file_name()) else {
            let reason = format!("--output {} cannot be replaced by an engine", output.display());
            return Err(BuildError::Option(reason));
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
    /// It is there already and not an empty directory.
    pub(super) fn check(output: &Path) -> Result<PathBuf, BuildError> {
        let output = std::path::absolute(output).map_err(BuildError::write(output))?;
        refuse_existing(&output)?;
        Ok(output)
    }

    /// Refuses a disk with less room than `bytes`, where the system tells (`df`).
    ///
    /// # Errors
    /// There is less.
    pub(super) fn check_space(&self, bytes: u64) -> Result<(), BuildError> {
        let listed = Command::new("df").args(["-Pk", "--"]).arg(self.path()).output();
        let free = listed.ok().and_then(|listed| {
            let listed = String::from_utf8_lossy(&listed.stdout).into_owned();
            listed.lines().last()?.split_whitespace().nth(3)?.parse::<u64>().ok()
        });
        match free {
            Some(kilobytes) if kilobytes * 1024 < bytes => Err(BuildError::Option(format!(
                "--output {} needs {}, and {} are free there",
                self.output.display(),
                HumanBytes(bytes),
                HumanBytes(kilobytes * 1024)
            ))),
            _ => Ok(()),
        }
    }

    /// The directory itself.
    pub(super) fn path(&self) -> &Path {
        self.directory.path()
    }

    /// Makes a directory in it.
    pub(super) fn folder(&self, name: &str) -> Result<PathBuf, BuildError> {
        let path = self.join(name);
        std::fs::create_dir(&path).map_err(BuildError::write(&path))?;
        Ok(path)
    }

    /// Path of a file in it.
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

    /// Gives it the output's name.
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
    let refuse = |what: &str| {
        let output = output.display();
        Err(BuildError::Option(format!("--output {output} {what}; remove it or name another directory")))
    };
    match std::fs::symlink_metadata(output) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(BuildError::write(output)(error)),
        Ok(metadata) if !metadata.is_dir() => refuse("is there already and is not a directory"),
        Ok(_) => match std::fs::read_dir(output).map_err(BuildError::write(output))?.next() {
            None => Ok(()),
            Some(_) => refuse("is there already and is not empty"),
        },
    }
}

/// Tidies up as far as it can: whatever stays is hidden and harms nothing.
fn remove_leftovers(parent: &Path, prefix: &str) {
    for entry in std::fs::read_dir(parent).into_iter().flatten().flatten() {
        let left = entry.file_name().to_string_lossy().starts_with(prefix)
            && entry.file_type().is_ok_and(|kind| kind.is_dir());
        // Whoever made it holds the lock for as long as it runs.
        if left && File::open(entry.path()).is_ok_and(|file| file.try_lock().is_ok()) {
            let _ = std::fs::remove_dir_all(entry.path());
        }
    }
}
