//! The local cache of the Hugging Face hub: `models--OWNER--NAME/snapshots/COMMIT`.

mod address;

use std::path::{Path, PathBuf};

use super::BuildError;
use super::checkpoint::has_weights;
use crate::manifest::read_plain_text;

pub use address::AddressError;
pub(crate) use address::name;

/// Bytes of the largest file that names a snapshot; it holds the hash of a commit.
const LARGEST_REFERENCE: u64 = 1 << 10;

/// What the names of repositories of models start with in the cache.
const PREFIX: &str = "models--";

/// The snapshot in a repository's directory of the cache; `None` if it is not such a directory.
///
/// # Errors
/// Nothing in it says which snapshot to take, or it is a cache of several models.
pub(super) fn snapshot(directory: &Path) -> Result<Option<PathBuf>, BuildError> {
    let snapshots = directory.join("snapshots");
    if !snapshots.is_dir() || directory.join("config.json").exists() {
        return refuse_cache(directory).map(|()| None);
    }
    let reference = directory.join("refs/main");
    if let Ok(commit) = read_plain_text(&reference, LARGEST_REFERENCE) {
        let path = snapshots.join(commit.trim());
        if commit.trim().is_empty() || !path.is_dir() {
            let reason = format!(
                "it names the snapshot {:?}, which is not there; download the model again",
                commit.trim()
            );
            return Err(BuildError::checkpoint(reference, reason));
        }
        return Ok(Some(path));
    }
    let mut found = folders(&snapshots);
    match (found.pop(), found.is_empty()) {
        (Some(only), true) => Ok(Some(only)),
        (None, _) => Err(BuildError::checkpoint(
            snapshots,
            "it has no snapshot of the model; download the model again",
        )),
        (Some(_), false) => {
            let reason =
                "it has several snapshots, and refs/main does not say which to use; name one of them";
            Err(BuildError::checkpoint(snapshots, reason))
        }
    }
}

/// Refuses a whole cache, which holds many models.
fn refuse_cache(directory: &Path) -> Result<(), BuildError> {
    let models: Vec<String> = folders(directory).iter().filter_map(|path| repository(path)).collect();
    match models.first() {
        Some(first) if !directory.join("config.json").exists() => {
            let reason = format!(
                "it is a cache of the Hugging Face hub with {} models; name one of them, for example {first}",
                models.len()
            );
            Err(BuildError::checkpoint(directory, reason))
        }
        _ => Ok(()),
    }
}

/// Whether a text can be the name of a model of the hub: `owner/name` or `name`.
fn is_name(name: &str) -> bool {
    let parts: Vec<&str> = name.split('/').collect();
    let is_plain = |part: &&str| {
        !part.is_empty()
            && !part.starts_with('.')
            && part.chars().all(|c| c.is_ascii_alphanumeric() || "-_.".contains(c))
    };
    parts.len() <= 2 && parts.iter().all(is_plain)
}

/// The directory of the cache for a model called `owner/name` or `name`, if the cache has it.
pub(crate) fn find(name: &str) -> Option<PathBuf> {
    if !is_name(name) {
        return None;
    }
    let path = cache()?.join(format!("{PREFIX}{}", name.replace('/', "--")));
    path.is_dir().then_some(path)
}

/// Whether the cache has all weights of a model. A download that was interrupted leaves some files out.
pub(crate) fn is_downloaded(name: &str) -> bool {
    let snapshot = find(name).and_then(|repository| snapshot(&repository).ok().flatten());
    snapshot.is_some_and(|snapshot| has_weights(&snapshot))
}

/// Where the cache is, as huggingface_hub finds it.
pub(crate) fn cache() -> Option<PathBuf> {
    let variable = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    variable("HF_HUB_CACHE")
        .or_else(|| variable("HUGGINGFACE_HUB_CACHE"))
        .or_else(|| variable("HF_HOME").map(|home| home.join("hub")))
        .or_else(|| variable("XDG_CACHE_HOME").map(|cache| cache.join("huggingface/hub")))
        .or_else(|| variable("HOME").map(|home| home.join(".cache/huggingface/hub")))
}

/// The name of a checkpoint: that of its repository in the hub's cache, whose directories are named after commits,
/// else that of its directory.
pub(super) fn checkpoint_name(path: &Path) -> Option<String> {
    let parent = path.parent()?;
    if file_name(parent).as_deref() == Some("snapshots")
        && let Some(repository) = parent.parent().and_then(repository)
    {
        return Some(repository);
    }
    file_name(path)
}

/// The repository whose directory in the cache this is.
fn repository(path: &Path) -> Option<String> {
    Some(file_name(path)?.strip_prefix(PREFIX)?.replace("--", "/"))
}

fn file_name(path: &Path) -> Option<String> {
    path.file_name().map(|name| name.to_string_lossy().into_owned())
}

/// The folders in a directory, by name.
fn folders(directory: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(directory).into_iter().flatten().flatten();
    let mut found: Vec<PathBuf> = entries.map(|entry| entry.path()).filter(|path| path.is_dir()).collect();
    found.sort();
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_checkpoint_in_the_hubs_cache_is_named_after_its_repository() {
        let name = |path| checkpoint_name(Path::new(path)).unwrap();
        assert_eq!(name("/cache/models--acme--judge-8b/snapshots/0123abcd"), "acme/judge-8b");
        assert_eq!(name("/models/snapshots/judge"), "judge");
        assert_eq!(name("/models/judge"), "judge");
    }

    #[test]
    fn a_path_is_not_looked_for_in_the_cache() {
        for name in ["/acme/judge", "./judge", "../judge", "a/b/c", "", "a b"] {
            assert_eq!(find(name), None, "{name}");
        }
    }
}
