//! The operations on files that a run's journal and output depend on. Tests put a disk in their place that loses,
//! reorders and tears what was not synced.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek, Write};
use std::path::Path;

/// Where files are.
pub(super) trait Disk: Send + Sync {
    /// Opens a file that exists, to read it.
    fn open(&self, path: &Path) -> io::Result<Box<dyn DiskFile>>;

    /// Opens a file to read and write it, and creates it if it does not exist.
    fn open_or_create(&self, path: &Path) -> io::Result<Box<dyn DiskFile>>;

    /// Opens an empty file in place of any other.
    fn create(&self, path: &Path) -> io::Result<Box<dyn DiskFile>>;

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;

    fn remove(&self, path: &Path) -> io::Result<()>;

    /// Makes the name of a file survive a power cut: names are in the directory, not in the file.
    fn sync_name(&self, path: &Path) -> io::Result<()>;
}

/// An open file.
pub(super) trait DiskFile: Read + Write + Seek + Send {
    /// Whether no other process has locked it; then this one has.
    fn try_lock(&self) -> bool;

    fn set_len(&mut self, bytes: u64) -> io::Result<()>;

    /// Makes what was written survive a power cut.
    fn sync(&mut self) -> io::Result<()>;
}

/// The file system of the machine.
pub(super) struct FileSystem;

impl Disk for FileSystem {
    fn open(&self, path: &Path) -> io::Result<Box<dyn DiskFile>> {
        Ok(Box::new(File::open(path)?))
    }

    fn open_or_create(&self, path: &Path) -> io::Result<Box<dyn DiskFile>> {
        // A journal is read to its end, which a device may not have, and opening a pipe may wait.
        if std::fs::metadata(path).is_ok_and(|metadata| !metadata.is_file()) {
            let reason = "it is there and is not a regular file; move it away";
            return Err(io::Error::new(io::ErrorKind::InvalidInput, reason));
        }
        let mut options = OpenOptions::new();
        Ok(Box::new(options.read(true).write(true).create(true).truncate(false).open(path)?))
    }

    fn create(&self, path: &Path) -> io::Result<Box<dyn DiskFile>> {
        Ok(Box::new(File::create(path)?))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        std::fs::rename(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        std::fs::remove_file(path)
    }

    fn sync_name(&self, path: &Path) -> io::Result<()> {
        let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty());
        File::open(directory.unwrap_or(Path::new(".")))?.sync_all()
    }
}

impl DiskFile for File {
    fn try_lock(&self) -> bool {
        File::try_lock(self).is_ok()
    }

    fn set_len(&mut self, bytes: u64) -> io::Result<()> {
        File::set_len(self, bytes)
    }

    fn sync(&mut self) -> io::Result<()> {
        self.sync_all()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_journal_that_is_not_a_regular_file_is_refused_at_once() {
        let directory = tempfile::tempdir().unwrap();
        let link = directory.path().join("out.jsonl.partial");
        std::os::unix::fs::symlink("/dev/zero", &link).unwrap();
        for path in [&link, directory.path()] {
            let error = FileSystem.open_or_create(path).err().unwrap().to_string();
            assert_eq!(error, "it is there and is not a regular file; move it away");
        }
        assert!(FileSystem.open_or_create(&directory.path().join("other")).is_ok());
    }
}
