//! Where the files of a checkpoint are: its own directory, the hub's cache, or a base model and an adapter.

use std::path::{Path, PathBuf};

use super::adapter::{ADAPTER_CONFIG, Adapter};
use super::options::BuildOptions;
use super::{BuildError, foreign, hub};

/// Files that show that a directory has a tokenizer of its own.
const TOKENIZER_FILES: [&str; 3] = ["tokenizer.json", "tokenizer.model", "tokenizer_config.json"];
/// Files that show that a directory has a model's weights.
const WEIGHTS: [&str; 2] = ["model.safetensors", "model.safetensors.index.json"];

/// Where the files of a checkpoint are.
pub(super) struct Location {
    /// `config.json` and the weights.
    pub(super) base: PathBuf,
    /// Tokenizer and chat template.
    pub(super) text: PathBuf,
    /// A value head, if it has a file of its own.
    pub(super) head: PathBuf,
    pub(super) adapter: Option<Adapter>,
    /// The name to serve it under.
    pub(super) name: String,
}

impl Location {
    /// Finds the files that the options name.
    ///
    /// # Errors
    /// A directory is missing or not what it should be, or the adapter cannot be merged.
    pub(super) fn find(options: &BuildOptions) -> Result<Self, BuildError> {
        foreign::refuse(&options.model)?;
        let model = directory("", &options.model)?;
        foreign::refuse(&model)?;
        let adapter_directory = match &options.checkpoint.adapter {
            Some(adapter) if has(&model, ADAPTER_CONFIG) && !has_weights(&model) => {
                return Err(BuildError::Option(format!(
                    "{} is an adapter itself; name its base model instead, and one adapter as --adapter {}",
                    options.model.display(),
                    adapter.display()
                )));
            }
            Some(adapter) => Some(adapter_directory(adapter)?),
            None if has(&model, ADAPTER_CONFIG) => Some(model.clone()),
            None => {
                refuse_lone_weights(&model)?;
                None
            }
        };
        let Some(adapter_directory) = adapter_directory else {
            let name = name(&options.model, &model, options.name.as_deref())?;
            return Ok(Self { text: model.clone(), head: model.clone(), base: model, adapter: None, name });
        };
        refuse_lone_weights(&adapter_directory)?;
        let adapter = Adapter::open(&adapter_directory)?;
        let base = if options.checkpoint.adapter.is_none() && !has_weights(&model) {
            base(&adapter, &model)?
        } else {
            model
        };
        let has_tokenizer = TOKENIZER_FILES.iter().any(|file| has(&adapter_directory, file));
        let named_by = options.checkpoint.adapter.as_ref().unwrap_or(&options.model);
        Ok(Self {
            name: name(named_by, &adapter_directory, options.name.as_deref())?,
            text: if has_tokenizer { adapter_directory.clone() } else { base.clone() },
            head: adapter_directory,
            base,
            adapter: Some(adapter),
        })
    }
}

/// What a build reads, and the name that it gives to the model.
pub(crate) struct Inputs {
    pub(crate) name: String,
    /// Directories of the checkpoint's files.
    pub(crate) directories: Vec<PathBuf>,
}

/// Finds what a build with these options would read.
///
/// # Errors
/// A directory is missing or not what it should be, or the adapter cannot be merged.
pub(crate) fn inputs(options: &BuildOptions) -> Result<Inputs, BuildError> {
    let Location { base, text, head, name, .. } = Location::find(options)?;
    let directories = [base, text, head].into_iter().collect::<std::collections::BTreeSet<_>>();
    Ok(Inputs { name, directories: directories.into_iter().collect() })
}

fn has(directory: &Path, file: &str) -> bool {
    directory.join(file).exists()
}

/// Whether a directory has the weights of a whole model.
fn has_weights(directory: &Path) -> bool {
    has(directory, "config.json")
        && (WEIGHTS.iter().any(|file| has(directory, file))
            || std::fs::read_dir(directory).into_iter().flatten().flatten().any(|entry| {
                let name = entry.file_name().to_string_lossy().into_owned();
                name.contains("-of-") && name.ends_with(".safetensors")
            }))
}

/// Refuses an adapter's weights without its configuration, which says how much they count.
fn refuse_lone_weights(directory: &Path) -> Result<(), BuildError> {
    for file in ["adapter_model.safetensors", "adapter_model.bin"] {
        if has(directory, file) && !has(directory, ADAPTER_CONFIG) {
            let reason = format!(
                "it is an adapter without {ADAPTER_CONFIG}, which says how to merge it; add that file, or remove the \
                 adapter if it does not belong to the model"
            );
            return Err(BuildError::checkpoint(directory.join(file), reason));
        }
    }
    Ok(())
}

/// The directory that a user names: by path, or by the name or address of a model in the hub's cache. `option` is what
/// a sentence about it starts with.
fn directory(option: &str, given: &Path) -> Result<PathBuf, BuildError> {
    let shown = given.display();
    if given.is_dir() {
        return Ok(hub::snapshot(given)?.unwrap_or_else(|| given.to_owned()));
    }
    if given.exists() {
        let parent = given.parent().map_or(String::new(), |parent| format!(", {}", parent.display()));
        return Err(BuildError::Option(format!(
            "{option}{shown} is a file; give the directory that it is in{parent}"
        )));
    }
    let name = hub::name(&given.to_string_lossy())
        .map_err(|error| BuildError::Option(format!("{option}{error}")))?;
    if let Some(found) = name.as_deref().and_then(hub::find) {
        return Ok(hub::snapshot(&found)?.unwrap_or(found));
    }
    let cache =
        hub::cache().map_or(String::new(), |cache| format!(" or in the hub's cache {}", cache.display()));
    Err(BuildError::Option(format!(
        "{option}{shown} cannot be found; it must be a directory on this machine{cache}, so download a model of the \
         Hugging Face hub first (`hf download`)"
    )))
}

/// The directory that `--adapter` names.
fn adapter_directory(given: &Path) -> Result<PathBuf, BuildError> {
    let found = directory("--adapter ", given)?;
    refuse_lone_weights(&found)?;
    if has(&found, ADAPTER_CONFIG) {
        return Ok(found);
    }
    Err(BuildError::Option(format!(
        "--adapter {} has no {ADAPTER_CONFIG}; name a directory with an adapter that peft saved",
        given.display()
    )))
}

/// The directory of an adapter's base model.
fn base(adapter: &Adapter, directory_of_adapter: &Path) -> Result<PathBuf, BuildError> {
    let Some(base) = &adapter.config.base else {
        let reason = "it does not name the adapter's base model; name that as the model, and this directory as --adapter";
        return Err(adapter.config.error("base_model_name_or_path", reason));
    };
    let found = [PathBuf::from(base), directory_of_adapter.join(base)].into_iter().find(|path| path.is_dir());
    let found = found.or_else(|| hub::find(base));
    let Some(found) = found else {
        let cache = hub::cache().map_or_else(|| "none is set".into(), |cache| cache.display().to_string());
        let reason = format!(
            "the adapter's base model {base} is neither a directory here nor in the hub's cache ({cache}); download it \
             (`hf download {base}`), or name its directory as the model and this one as --adapter"
        );
        return Err(adapter.config.error("base_model_name_or_path", &reason));
    };
    let found = hub::snapshot(&found)?.unwrap_or(found);
    if has(&found, ADAPTER_CONFIG) && !has_weights(&found) {
        let reason = format!(
            "the base model {} is an adapter itself; merge it into its own base first (`merge_and_unload`)",
            found.display()
        );
        return Err(adapter.config.error("base_model_name_or_path", &reason));
    }
    Ok(found)
}

/// The requested name, or the checkpoint's own.
fn name(given: &Path, found: &Path, requested: Option<&str>) -> Result<String, BuildError> {
    let own = || hub::checkpoint_name(&std::fs::canonicalize(found).ok()?);
    let name = requested.map(str::to_owned).or_else(own);
    name.filter(|name| !name.trim().is_empty() && !name.contains(char::is_control)).ok_or_else(|| {
        let shown = given.display();
        BuildError::Option(format!("{shown} gives no name to serve it under; choose one with --name"))
    })
}
