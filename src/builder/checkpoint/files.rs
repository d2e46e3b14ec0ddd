//! Which files of a directory are a checkpoint's weights.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use regex::Regex;

use crate::builder::BuildError;
use crate::builder::json::Object;
use crate::builder::stored::{Stored, convert};

const SINGLE_FILE: &str = "model.safetensors";
pub(super) const INDEX_FILE: &str = "model.safetensors.index.json";
/// The files in which training code saves parts of a head, next to the model or an adapter, and the same without
/// safetensors: LLaMA-Factory's and ms-swift's value head, and LDL's two networks.
const HEAD_FILES: [(&str, &str); 3] = [
    ("value_head.safetensors", "value_head.bin"),
    ("regression_layer.safetensors", "regression_layer.pt"),
    ("gating_layer.safetensors", "gating_layer.pt"),
];

/// A checkpoint's weights.
pub(super) struct Weights {
    /// The safetensors files.
    pub(super) paths: Vec<PathBuf>,
    /// The file or directory that errors about missing tensors name.
    pub(super) listing: PathBuf,
    pub(super) index: Option<Index>,
}

/// The index of a set of shards.
pub(super) struct Index {
    directory: PathBuf,
    /// The file name of each tensor.
    listed: BTreeMap<String, String>,
}

/// Finds the weights in `directory`. A single file takes precedence over shards, as it does in transformers.
pub(super) fn find(directory: &Path) -> Result<Weights, BuildError> {
    let (single, index) = (directory.join(SINGLE_FILE), directory.join(INDEX_FILE));
    if single.exists() {
        return Ok(Weights { paths: vec![single.clone()], listing: single, index: None });
    }
    if index.exists() {
        return indexed(directory, &index);
    }
    let shards = shards(directory)?;
    if shards.is_empty() {
        return Err(no_safetensors(directory));
    }
    Ok(Weights { paths: shards, listing: directory.to_owned(), index: None })
}

/// Ends of the names of files with weights in other forms, about which the build has advice.
const OTHER_FORMS: [&str; 6] = [
    "adapter_model.safetensors",
    "adapter_model.bin",
    "pytorch_model.bin",
    "pytorch_model.bin.index.json",
    ".gguf",
    ".nemo",
];

/// Whether a directory has the weights of a model or of an adapter, and not only some of them.
pub(in crate::builder) fn has_weights(directory: &Path) -> bool {
    let is_other = |name: &String| OTHER_FORMS.iter().any(|end| name.ends_with(end));
    find(directory).is_ok() || names(directory).iter().any(is_other)
}

fn indexed(directory: &Path, path: &Path) -> Result<Weights, BuildError> {
    let object = Object::read(path)?;
    let listed: BTreeMap<String, String> = object.required("weight_map")?;
    let mut names: Vec<&String> = listed.values().collect();
    names.sort();
    names.dedup();
    let mut paths = Vec::new();
    for name in names {
        if Path::new(name).file_name().is_none_or(|file| file != name.as_str()) {
            return Err(object.error("weight_map", &format!("{name} is not a file in the same directory")));
        }
        let shard = directory.join(name);
        if !shard.exists() {
            return Err(missing_shard(directory, path, name));
        }
        paths.push(shard);
    }
    let index = Index { directory: directory.to_owned(), listed };
    Ok(Weights { paths, listing: path.to_owned(), index: Some(index) })
}

/// The error for a shard that the index names and the directory lacks.
fn missing_shard(directory: &Path, index: &Path, name: &str) -> BuildError {
    let others: Vec<String> =
        names(directory).into_iter().filter(|file| file.ends_with(".safetensors")).collect();
    if others.iter().any(|file| total(file).is_some() && total(file) != total(name)) {
        let reason = format!(
            "it names {name}, which is missing, and the directory has {}: the index is that of other weights; delete \
             it, and the shards are read without one",
            others.join(", ")
        );
        return BuildError::checkpoint(index, reason);
    }
    let reason = format!("it is missing, but {INDEX_FILE} names it; download it, too");
    BuildError::checkpoint(directory.join(name), reason)
}

/// The number of shards that a shard's name gives.
fn total(name: &str) -> Option<usize> {
    shard_name()?.captures(name)?.get(3)?.as_str().parse().ok()
}

fn shard_name() -> Option<Regex> {
    Regex::new(r"^(.*)-(\d{5})-of-(\d{5})\.safetensors$").ok()
}

/// The shards of a directory without an index: all files of one set `NAME-00001-of-00003.safetensors`.
fn shards(directory: &Path) -> Result<Vec<PathBuf>, BuildError> {
    let Some(pattern) = shard_name() else { return Ok(vec![]) };
    let mut sets: BTreeMap<(String, usize), Vec<usize>> = BTreeMap::new();
    for name in names(directory) {
        let Some(parts) = pattern.captures(&name) else { continue };
        if let (Ok(number), Ok(total)) = (parts[2].parse(), parts[3].parse()) {
            sets.entry((parts[1].to_owned(), total)).or_default().push(number);
        }
    }
    let shard =
        |set: &str, number: usize, total: usize| format!("{set}-{number:05}-of-{total:05}.safetensors");
    if sets.len() > 1 {
        let found: Vec<String> = sets.keys().map(|(set, total)| shard(set, 1, *total)).collect();
        let reason = format!(
            "it has no {INDEX_FILE} and several sets of shards ({}); leave only the model's",
            found.join(", ")
        );
        return Err(BuildError::checkpoint(directory, reason));
    }
    let Some(((set, total), mut numbers)) = sets.pop_first() else { return Ok(vec![]) };
    numbers.sort_unstable();
    if let Some(missing) = (1..=total).find(|number| !numbers.contains(number)) {
        let reason = format!(
            "it has {} of {total} shards, and {} is missing; download it, too",
            numbers.len(),
            shard(&set, missing, total)
        );
        return Err(BuildError::checkpoint(directory, reason));
    }
    Ok(numbers.into_iter().map(|number| directory.join(shard(&set, number, total))).collect())
}

impl Index {
    /// Checks that every tensor is in the file that the index says.
    pub(super) fn check(&self, found: &[(String, Stored)]) -> Result<(), BuildError> {
        let mut places: BTreeMap<&str, &Path> = BTreeMap::new();
        for (name, stored) in found {
            if let Some(other) = places.insert(name, stored.path()) {
                return Err(in_two_files(name, stored, other));
            }
        }
        for (tensor, shard) in &self.listed {
            let path = self.directory.join(shard);
            if places.get(tensor.as_str()) != Some(&path.as_path()) {
                let reason = format!("is not in this file, where {INDEX_FILE} says it is");
                return Err(BuildError::tensor(&path, tensor, reason));
            }
        }
        Ok(())
    }
}

/// The error for a tensor that another file has, too.
pub(super) fn in_two_files(name: &str, stored: &Stored, other: &Path) -> BuildError {
    BuildError::tensor(stored.path(), name, format!("is also in {}; remove one", other.display()))
}

/// The files of a directory with parts of a head.
///
/// # Errors
/// One is only there as a pickle.
pub(super) fn heads(directory: &Path) -> Result<Vec<PathBuf>, BuildError> {
    let mut found = Vec::new();
    for (name, pickle) in HEAD_FILES.map(|(name, pickle)| (directory.join(name), directory.join(pickle))) {
        if name.exists() {
            found.push(name);
        } else if pickle.exists() {
            let command = convert(directory);
            let reason = format!("it is a part of the model's head in PyTorch's own format; {command}");
            return Err(BuildError::checkpoint(pickle, reason));
        }
    }
    Ok(found)
}

/// The names of a directory's files.
fn names(directory: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(directory).into_iter().flatten().flatten();
    let mut names: Vec<String> =
        entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
    names.sort();
    names
}

/// The error for a directory without weights in safetensors.
fn no_safetensors(directory: &Path) -> BuildError {
    let names = names(directory);
    let with = |end: &str| names.iter().find(|name| name.ends_with(end));
    let missing = format!("there is neither {SINGLE_FILE} nor {INDEX_FILE}");
    let broken = |name: &&String| name.ends_with(".safetensors") && !directory.join(name).exists();
    let hint = if let Some(broken) = names.iter().find(broken) {
        format!(": {broken} is a link to a file that is not there; download the checkpoint again")
    } else if let Some(pickle) = with(".bin").or_else(|| with(".pt")).or_else(|| with(".pth")) {
        format!(", only {pickle} in PyTorch's own format; {}", convert(directory))
    } else if let Some(other) = with(".safetensors") {
        format!(", only {other}; if it holds the model under transformers' names, rename it to {SINGLE_FILE}")
    } else {
        "; name a directory with a Hugging Face checkpoint".to_owned()
    };
    BuildError::checkpoint(directory, missing + &hint)
}
