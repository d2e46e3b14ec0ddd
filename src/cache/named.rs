//! What the name of a model means.

use std::path::{Path, PathBuf};

use super::ModelError;
use crate::builder::trtllm::DRAFT_FILE;
use crate::builder::{AddressError, hub};
use crate::hardware::profiles;
use crate::manifest::MANIFEST_FILE;

/// Files that show that a directory is a checkpoint, or something that `build-engine` has advice about.
const CHECKPOINT_FILES: [&str; 5] = [
    "config.json",
    "adapter_config.json",
    "model_config.yaml",
    "model.safetensors",
    "adapter_model.safetensors",
];
/// Ends of the names of files that hold a whole model in formats that must be converted.
const FOREIGN: [&str; 2] = ["gguf", "nemo"];
/// Ends of the names of files that checkpoints consist of.
const PARTS: [&str; 5] = ["safetensors", "bin", "json", "jinja", "model"];

/// What a name means.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Named {
    /// An engine directory, or a folder of several.
    Engine,
    /// A checkpoint, by its directory, or by its name or address on the hub.
    Checkpoint,
}

/// Finds out what `model` names; `command` is the command line up to the model, for advice.
///
/// # Errors
/// It names nothing that can be used.
pub(super) fn recognise(model: &Path, command: &'static str) -> Result<Named, ModelError> {
    if model.is_dir() {
        directory(model, command)
    } else if model.exists() {
        file(model, command)
    } else {
        absent(model, command)
    }
}

fn directory(model: &Path, command: &'static str) -> Result<Named, ModelError> {
    if model.join(MANIFEST_FILE).exists() {
        return Ok(Named::Engine);
    }
    if model.join(DRAFT_FILE).exists() {
        return Err(ModelError::GpuCheckpoint { model: model.to_owned() });
    }
    if is_checkpoint(model) || has_models_of_hub(model) {
        return Ok(Named::Checkpoint);
    }
    if !profiles::directories(model).is_empty() {
        return Ok(Named::Engine);
    }
    let checkpoints: Vec<PathBuf> =
        entries(model).into_iter().filter(|entry| entry.is_dir() && is_checkpoint(entry)).collect();
    let directory = model.to_owned();
    Err(match checkpoints.first() {
        Some(first) => {
            ModelError::Checkpoints { directory, count: checkpoints.len(), first: first.clone(), command }
        }
        None => ModelError::NoModel { directory },
    })
}

fn is_checkpoint(directory: &Path) -> bool {
    CHECKPOINT_FILES.iter().any(|file| directory.join(file).exists())
        || directory.join("snapshots").is_dir()
        || entries(directory).iter().any(|entry| ends(entry, &FOREIGN))
}

/// Whether a directory is a cache of the hub, about which the builder has advice.
fn has_models_of_hub(directory: &Path) -> bool {
    let is_model = |entry: &PathBuf| {
        entry.file_name().is_some_and(|name| name.to_string_lossy().starts_with("models--"))
    };
    entries(directory).iter().any(is_model)
}

fn file(model: &Path, command: &'static str) -> Result<Named, ModelError> {
    if ends(model, &FOREIGN) {
        return Ok(Named::Checkpoint);
    }
    let parent = match model.parent() {
        Some(parent) if parent != Path::new("") => parent,
        _ => Path::new("."),
    };
    let what = if model.file_name().is_some_and(|name| name == MANIFEST_FILE) {
        "the manifest of an engine"
    } else if parent.join(MANIFEST_FILE).exists() {
        "a file of an engine"
    } else if is_checkpoint(parent) && ends(model, &PARTS) {
        "a file of a checkpoint"
    } else {
        return Err(ModelError::UnknownFile { file: model.to_owned() });
    };
    Err(ModelError::File { file: model.to_owned(), what, directory: parent.to_owned(), command })
}

fn absent(model: &Path, command: &'static str) -> Result<Named, ModelError> {
    match name_on_hub(model)? {
        Some(name) if hub::find(&name).is_some() => Ok(Named::Checkpoint),
        Some(name) => Err(ModelError::NotDownloaded { name, cache: hub::cache(), command }),
        None => Err(ModelError::Missing { model: model.to_owned() }),
    }
}

/// The name of the model of the hub that a name or an address means.
fn name_on_hub(model: &Path) -> Result<Option<String>, AddressError> {
    let text = model.to_string_lossy();
    // A word without a slash is rather a directory that is missing.
    let is_meant =
        |name: &String| name.contains('/') || name != text.trim_end_matches('/') || hub::find(name).is_some();
    Ok(hub::name(&text)?.filter(is_meant))
}

/// The name of the model of the hub that `model` means, if this machine has no copy of it, or an unfinished one.
pub(super) fn to_download(model: &Path) -> Option<String> {
    if model.exists() {
        return None;
    }
    name_on_hub(model).ok()?.filter(|name| !hub::is_downloaded(name))
}

fn entries(directory: &Path) -> Vec<PathBuf> {
    let mut found: Vec<PathBuf> =
        std::fs::read_dir(directory).into_iter().flatten().flatten().map(|entry| entry.path()).collect();
    found.sort();
    found
}

fn ends(path: &Path, extensions: &[&str]) -> bool {
    path.extension().is_some_and(|found| extensions.iter().any(|end| found.eq_ignore_ascii_case(end)))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A directory with these empty files.
    fn with(files: &[&str]) -> tempfile::TempDir {
        let directory = tempfile::tempdir().unwrap();
        for file in files {
            let path = directory.path().join(file);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, "").unwrap();
        }
        directory
    }

    fn named(root: &tempfile::TempDir, path: &str) -> Result<Named, String> {
        let path = root.path().join(path);
        recognise(&path, "assay serve")
            .map_err(|error| error.to_string().replace(&format!("{}", root.path().display()), "ROOT"))
    }

    #[test]
    fn engines_and_checkpoints_are_recognised_by_their_files() {
        let root = with(&[
            "engine/engine.yaml",
            "engine/config.json",
            "engines/8b/engine.yaml",
            "checkpoint/config.json",
            "adapter/adapter_config.json",
            "gguf/model-q4.gguf",
            "hub/models--acme--judge/snapshots/1/config.json",
        ]);
        for engine in ["engine", "engines"] {
            assert_eq!(named(&root, engine), Ok(Named::Engine), "{engine}");
        }
        let checkpoints =
            ["checkpoint", "adapter", "gguf", "gguf/model-q4.gguf", "hub", "hub/models--acme--judge"];
        for checkpoint in checkpoints {
            assert_eq!(named(&root, checkpoint), Ok(Named::Checkpoint), "{checkpoint}");
        }
    }

    #[test]
    fn wrong_things_get_the_command_that_was_meant() {
        let root = with(&[
            "engine/engine.yaml",
            "engine/weights.safetensors",
            "models/a/config.json",
            "models/b/config.json",
            "models/a/model.safetensors",
            "mine/judge/config.json",
            "notes/todo.txt",
            "gpu/checkpoint.yaml",
            "gpu/config.json",
        ]);
        for (path, parts) in [
            ("engine/engine.yaml", &["is the manifest of an engine", "`assay serve ROOT/engine`"][..]),
            ("engine/weights.safetensors", &["is a file of an engine", "`assay serve ROOT/engine`"]),
            ("models/a/config.json", &["is a file of a checkpoint", "`assay serve ROOT/models/a`"]),
            ("models/a/model.safetensors", &["is a file of a checkpoint", "`assay serve ROOT/models/a`"]),
            ("models", &["folder of 2 checkpoints; name one of them", "`assay serve ROOT/models/a`"]),
            ("mine", &["folder of one checkpoint; name that", "`assay serve ROOT/mine/judge`"]),
            ("notes", &["ROOT/notes has neither an engine", "config.json"]),
            ("notes/todo.txt", &["is a file", "directory"]),
            ("gpu", &["TensorRT-LLM", "`build-engine --model ROOT/gpu --target GPU --output DIR`"]),
            ("nothing", &["ROOT/nothing does not exist"]),
        ] {
            let sentence = named(&root, path).unwrap_err();
            assert!(parts.iter().all(|part| sentence.contains(part)), "{path}: {sentence}");
        }
    }

    #[test]
    fn names_and_addresses_of_the_hub_are_recognised() {
        let sentence = |name: &str| recognise(Path::new(name), "assay serve").unwrap_err().to_string();
        for text in
            ["acme/no-such-model", "hf.co/acme/no-such-model", "https://huggingface.co/acme/no-such-model"]
        {
            let sentence = sentence(text);
            for command in ["`hf download acme/no-such-model`", "`assay serve acme/no-such-model --download`"]
            {
                assert!(sentence.contains(command), "{sentence}");
            }
        }
        assert!(sentence("https://huggingface.co/datasets/acme/pairs").contains("a dataset"));
        assert!(sentence("no-such-model").contains("does not exist"));
    }
}
