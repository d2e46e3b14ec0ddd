//! Files that are read again when they change.

use std::fs::Metadata;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::time::{Duration, SystemTime};

/// How often the files are looked at.
const LOOK_EVERY: Duration = Duration::from_secs(2);

/// Files and what they were like when last looked at.
pub(super) struct Watched {
    files: Vec<PathBuf>,
    seen: Vec<Option<Stamp>>,
}

/// What tells a file from an earlier or another one in its place: time of change, bytes, inode. Kubernetes
/// puts new files behind a link.
#[derive(Debug, PartialEq, Eq)]
struct Stamp(Option<SystemTime>, u64, u64);

impl Watched {
    /// As they are now: to be called before they are read.
    pub(super) fn new(files: impl IntoIterator<Item = PathBuf>) -> Self {
        let files: Vec<_> = files.into_iter().collect();
        let seen = stamps(&files);
        Self { files, seen }
    }

    /// Calls `reload` after every change, for ever. A file that is gone is no change until it is back.
    pub(super) async fn each_change(mut self, reload: impl Fn()) {
        loop {
            tokio::time::sleep(LOOK_EVERY).await;
            if self.changed() {
                reload();
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
    let stamp = |about: Metadata| Stamp(about.modified().ok(), about.len(), about.ino());
    files.iter().map(|file| std::fs::metadata(file).ok().map(stamp)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_file_behind_a_link_is_a_change_and_a_missing_one_is_none() {
        let folder = tempfile::tempdir().unwrap();
        let [one, two, link] = ["one", "two", "link"].map(|name| folder.path().join(name));
        for file in [&one, &two] {
            std::fs::write(file, "same").unwrap();
        }
        std::os::unix::fs::symlink(&one, &link).unwrap();
        let mut watched = Watched::new([link.clone()]);
        assert!(!watched.changed());
        std::fs::remove_file(&link).unwrap();
        assert!(!watched.changed());
        std::os::unix::fs::symlink(&two, &link).unwrap();
        assert!(watched.changed() && !watched.changed());
        std::fs::write(&two, "other").unwrap();
        assert!(watched.changed());
    }
}
