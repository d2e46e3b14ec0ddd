//! Notices when files change, so that they are read again.

use std::fs::Metadata;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::time::{Duration, SystemTime};

const INTERVAL: Duration = Duration::from_secs(2);

/// Files, and their state at the last check.
pub(super) struct FileWatcher {
    files: Vec<PathBuf>,
    seen: Vec<Option<Stamp>>,
}

/// Identifies a version of a file. Kubernetes replaces files by changing a symbolic link.
#[derive(Debug, PartialEq, Eq)]
struct Stamp {
    modified: Option<SystemTime>,
    /// When the content, the permissions or the time above last changed, in seconds and nanoseconds.
    status_changed: (i64, i64),
    bytes: u64,
    inode: u64,
}

impl FileWatcher {
    /// Watches for changes from now on: call it before the files are read.
    pub(super) fn new(files: impl IntoIterator<Item = PathBuf>) -> Self {
        let files: Vec<_> = files.into_iter().collect();
        let seen = stamps(&files);
        Self { files, seen }
    }

    /// Calls `reload` after every change and never ends. A file that is missing counts as a change once it is
    /// back.
    pub(super) async fn on_change(mut self, reload: impl Fn()) {
        loop {
            tokio::time::sleep(INTERVAL).await;
            if self.changed() {
                reload();
            }
        }
    }

    /// Resolves after the next change; a file that goes missing is one.
    pub(super) async fn any_change(&mut self) {
        loop {
            tokio::time::sleep(INTERVAL).await;
            let now = stamps(&self.files);
            if now != self.seen {
                self.seen = now;
                return;
            }
        }
    }

    fn changed(&mut self) -> bool {
        let now = stamps(&self.files);
        let changed = now != self.seen && now.iter().all(Option::is_some);
        if changed {
            self.seen = now;
        }
        changed
    }
}

fn stamps(files: &[PathBuf]) -> Vec<Option<Stamp>> {
    files.iter().map(|file| std::fs::metadata(file).ok().as_ref().map(stamp)).collect()
}

fn stamp(file: &Metadata) -> Stamp {
    Stamp {
        modified: file.modified().ok(),
        status_changed: (file.ctime(), file.ctime_nsec()),
        bytes: file.len(),
        inode: file.ino(),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn a_new_target_of_a_link_is_a_change_and_a_missing_file_is_not() {
        let folder = tempfile::tempdir().unwrap();
        let [one, two, link] = ["one", "two", "link"].map(|name| folder.path().join(name));
        for file in [&one, &two] {
            std::fs::write(file, "same").unwrap();
        }
        std::os::unix::fs::symlink(&one, &link).unwrap();
        let mut watcher = FileWatcher::new([link.clone()]);
        assert!(!watcher.changed());
        std::fs::remove_file(&link).unwrap();
        assert!(!watcher.changed());
        std::os::unix::fs::symlink(&two, &link).unwrap();
        assert!(watcher.changed() && !watcher.changed());
        std::fs::write(&two, "other").unwrap();
        assert!(watcher.changed());
    }

    #[test]
    fn permissions_and_a_file_of_the_same_size_and_time_are_a_change() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(&file, "one").unwrap();
        let time = std::fs::metadata(&file).unwrap().modified().unwrap();
        let mut watcher = FileWatcher::new([file.path().to_owned()]);
        // The clock of a file system may tick only every few milliseconds.
        std::thread::sleep(Duration::from_millis(20));
        std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o640)).unwrap();
        assert!(watcher.changed() && !watcher.changed());
        std::thread::sleep(Duration::from_millis(20));
        std::fs::write(&file, "two").unwrap();
        std::fs::File::open(&file).unwrap().set_modified(time).unwrap();
        assert!(watcher.changed() && !watcher.changed());
    }
}
