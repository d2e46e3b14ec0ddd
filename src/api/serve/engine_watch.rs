//! [`EngineWatch`]: notices that the engine directory no longer holds the engine that is served.

use std::path::PathBuf;

use crate::api::file_watcher::FileWatcher;
use crate::manifest::{MANIFEST_FILE, Manifest, ManifestError};

/// Watches the files of an engine directory.
pub(super) struct EngineWatch {
    directory: PathBuf,
    served: Manifest,
    files: FileWatcher,
}

/// How an engine directory differs from the engine that is served.
#[derive(Debug, thiserror::Error)]
pub(super) enum EngineChange {
    /// A file was changed, truncated or removed.
    #[error(transparent)]
    Damaged(#[from] ManifestError),
    /// There is another engine.
    #[error("it now holds another engine, with the profile id {0}")]
    Replaced(String),
}

impl EngineWatch {
    /// Watches for changes from now on: call it before the files are read.
    pub(super) fn new(directory: PathBuf, served: Manifest) -> Self {
        let names = served.files.keys().map(String::as_str).chain([MANIFEST_FILE]);
        let files = FileWatcher::new(names.map(|name| directory.join(name)).collect::<Vec<_>>());
        Self { directory, served, files }
    }

    /// Resolves once the directory differs from the engine that is served. Files that were only touched, or copied
    /// again, do not differ: after a change all are read, off the threads that serve connections.
    pub(super) async fn change(&mut self) -> EngineChange {
        loop {
            self.files.any_change().await;
            let (directory, served) = (self.directory.clone(), self.served.clone());
            let compared = tokio::task::spawn_blocking(move || compare(&directory, &served)).await;
            match compared {
                Ok(Ok(())) => {
                    tracing::debug!("the engine's files were touched, and their content is the same")
                }
                Ok(Err(change)) => return change,
                Err(error) => tracing::error!(%error, "cannot compare the engine's files"),
            }
        }
    }
}

fn compare(directory: &std::path::Path, served: &Manifest) -> Result<(), EngineChange> {
    let found = Manifest::read(directory)?;
    if found.profile.id != served.profile.id {
        return Err(EngineChange::Replaced(found.profile.id));
    }
    Ok(found.verify(directory)?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::manifest::{TOKENIZER_FILE, verify};

    #[test]
    fn a_changed_a_missing_and_another_engine_differ_and_a_touched_one_does_not() {
        let (directory, manifest) = verify::tests::engine();
        let path = |name: &str| directory.path().join(name);
        let write = |manifest: &Manifest| {
            std::fs::write(path(MANIFEST_FILE), serde_saphyr::to_string(manifest).unwrap()).unwrap();
        };
        write(&manifest);
        let tokenizer = std::fs::read(path(TOKENIZER_FILE)).unwrap();
        std::fs::write(path(TOKENIZER_FILE), &tokenizer).unwrap();
        assert!(compare(directory.path(), &manifest).is_ok());
        std::fs::write(path(TOKENIZER_FILE), &tokenizer[1..]).unwrap();
        let change = compare(directory.path(), &manifest).unwrap_err();
        assert!(matches!(change, EngineChange::Damaged(_)) && change.to_string().contains(TOKENIZER_FILE));
        let mut other = manifest.clone();
        other.model.name = "another".into();
        other.profile.id = other.profile_id().unwrap();
        write(&other);
        assert!(
            matches!(compare(directory.path(), &manifest), Err(EngineChange::Replaced(id)) if id == other.profile.id)
        );
        std::fs::remove_file(path(MANIFEST_FILE)).unwrap();
        assert!(matches!(compare(directory.path(), &manifest), Err(EngineChange::Damaged(_))));
    }
}
