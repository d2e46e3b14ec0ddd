//! Adapters as peft saves them: which tensors of a base model they change, and which they replace.

mod config;
mod merge;
mod names;
mod targets;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::BuildError;
use super::json::LFS_POINTER;
use super::stored::{Stored, convert, open as open_file};
use crate::manifest::read_plain_file;
pub(super) use config::{ADAPTER_CONFIG, AdapterConfig, AdapterTask};
pub(super) use merge::{Axes, Merge};
use merge::{Change, Factors};
use names::{Part, Parts};

/// The file with an adapter's tensors.
const WEIGHTS: &str = "adapter_model.safetensors";
/// The same as peft saved it before safetensors.
const PICKLE: &str = "adapter_model.bin";

/// An adapter that can be merged.
pub(super) struct Adapter {
    path: PathBuf,
    pub(super) config: AdapterConfig,
    /// Tensors of the base model that the adapter adds to, by name.
    pub(super) changes: BTreeMap<String, Change>,
    /// Tensors that replace the base model's, or that only the adapter has, by name.
    pub(super) replaced: BTreeMap<String, Stored>,
}

/// The parts read so far of one module's low-rank change.
#[derive(Default)]
struct Found {
    parts: BTreeMap<Part, Stored>,
}

impl Adapter {
    /// Opens the adapter in `directory`.
    ///
    /// # Errors
    /// A file is missing or damaged, or the adapter is of a kind that cannot be merged.
    pub(super) fn open(directory: &Path) -> Result<Self, BuildError> {
        let config = AdapterConfig::read(directory)?;
        let path = weights(directory)?;
        let mut modules: BTreeMap<String, Found> = BTreeMap::new();
        let mut replaced = BTreeMap::new();
        let names = Parts::new();
        let mut adapter_name: Option<String> = None;
        for (name, stored) in open_file(&path, None)? {
            match names.read(&name) {
                names::Name::Ignored => {}
                names::Name::Whole(name) => {
                    replaced.insert(name, stored);
                }
                names::Name::Unknown => {
                    let reason = "is of a kind that cannot be merged into the base model; merge it with peft \
                                  (`merge_and_unload`, then `save_pretrained`), and build the result";
                    return Err(BuildError::tensor(&path, &name, reason));
                }
                names::Name::LowRank { module, part, adapter } => {
                    if adapter.is_some() && adapter_name.is_some() && adapter != adapter_name {
                        let reason = "belongs to a second adapter; save each in a file of its own";
                        return Err(BuildError::tensor(&path, &name, reason));
                    }
                    adapter_name = adapter.or(adapter_name);
                    modules.entry(module).or_default().parts.insert(part, stored);
                }
            }
        }
        let mut changes = BTreeMap::new();
        for (module, found) in modules {
            if !config.targets.include(&module) {
                let reason = format!(
                    "the adapter's file has a change of {module}, which this configuration does not train, so that peft \
                     would leave it out; add the module here, or save the adapter again"
                );
                return Err(config.error("target_modules", &reason));
            }
            let bias = found.bias(&path, &module, &config)?;
            changes.insert(format!("{module}.weight"), found.change(&path, &module, &config)?);
            changes.extend(bias.map(|bias| (format!("{module}.bias"), bias)));
        }
        if changes.is_empty() && replaced.is_empty() {
            return Err(BuildError::checkpoint(path, "it has no tensors"));
        }
        Ok(Self { path, config, changes, replaced })
    }

    /// One line about it.
    pub(super) fn describe(&self) -> String {
        let whole = match self.replaced.len() {
            0 => String::new(),
            count => format!(" and {count} tensors of its own"),
        };
        format!("merging {} ({} changed tensors{whole})", self.path.display(), self.changes.len())
    }

    /// The error for a tensor that the base model lacks.
    pub(super) fn no_such_tensor(&self, name: &str, listing: &Path) -> BuildError {
        if self.changes.get(name).is_some_and(|change| matches!(change.factors, Factors::Bias(_))) {
            let reason = format!(
                "is changed by the adapter (lora_bias), but the layer has no bias in {}, so there is nothing to merge it \
                 into; train the adapter without lora_bias",
                listing.display()
            );
            return BuildError::tensor(&self.path, name, reason);
        }
        let reason = format!(
            "is changed by the adapter, but {} has no tensor of that name; the adapter was trained on another base \
             model, or on one whose weights are laid out otherwise",
            listing.display()
        );
        BuildError::tensor(&self.path, name, reason)
    }
}

impl Found {
    fn part(&self, path: &Path, module: &str, part: Part) -> Result<&Stored, BuildError> {
        self.parts.get(&part).ok_or_else(|| {
            let name = format!("{module}.{}", part.name());
            BuildError::tensor(path, &name, "is missing: the adapter has only a part of this change")
        })
    }

    /// The change of the module's matrix.
    fn change(&self, path: &Path, module: &str, config: &AdapterConfig) -> Result<Change, BuildError> {
        let embedding = self.parts.keys().any(|part| matches!(part, Part::EmbeddingA | Part::EmbeddingB));
        let (a, b) = if embedding { (Part::EmbeddingA, Part::EmbeddingB) } else { (Part::A, Part::B) };
        let (a, b) = (self.part(path, module, a)?.clone(), self.part(path, module, b)?.clone());
        let (&[rank, _], &[_, other]) = (&a.shape[..], &b.shape[..]) else {
            return Err(gathered(path, module));
        };
        if rank == 0 || rank != other {
            return Err(gathered(path, module));
        }
        let scale = config.scale(module, rank).map_err(|error| config.error(module, &error.to_string()))?;
        let magnitude = self.parts.get(&Part::Magnitude).cloned();
        if config.use_dora && magnitude.is_none() {
            self.part(path, module, Part::Magnitude)?;
        }
        let axes = if embedding { Axes::InputsByOutputs } else { Axes::OutputsByInputs };
        Ok(Change { factors: Factors::LowRank { a, b, axes }, scale, magnitude })
    }

    /// The change of the module's bias (`lora_bias`).
    fn bias(&self, path: &Path, module: &str, config: &AdapterConfig) -> Result<Option<Change>, BuildError> {
        let Some(bias) = self.parts.get(&Part::BBias) else { return Ok(None) };
        if config.use_dora {
            let name = format!("{module}.{}", Part::BBias.name());
            return Err(BuildError::tensor(path, &name, "and DoRA together cannot be merged"));
        }
        let rank = self.part(path, module, Part::A)?.shape.first().copied().unwrap_or(0);
        let scale = config.scale(module, rank).map_err(|error| config.error(module, &error.to_string()))?;
        Ok(Some(Change { factors: Factors::Bias(bias.clone()), scale, magnitude: None }))
    }
}

/// The error for factors that are not two matrices of one rank.
fn gathered(path: &Path, module: &str) -> BuildError {
    let reason = "are not two matrices of one rank; weights that were sharded in training must be gathered before the \
                  adapter is saved";
    BuildError::tensor(path, &format!("{module}.lora_A, lora_B"), reason)
}

/// The file with the adapter's tensors.
fn weights(directory: &Path) -> Result<PathBuf, BuildError> {
    let path = directory.join(WEIGHTS);
    if path.exists() {
        return Ok(path);
    }
    let pickle = directory.join(PICKLE);
    if pickle.exists() {
        // A pointer is small, and what is large is not one.
        let is_pointer = read_plain_file(&pickle, 1 << 10).is_ok_and(|bytes| bytes.starts_with(LFS_POINTER));
        let reason = if is_pointer {
            "it is a Git LFS pointer, not the file itself; run `git lfs pull`".to_owned()
        } else {
            format!("it is in PyTorch's own format; {}", convert(directory))
        };
        return Err(BuildError::checkpoint(pickle, reason));
    }
    let reason = format!("there is {ADAPTER_CONFIG}, but no {WEIGHTS}; download or save the adapter again");
    Err(BuildError::checkpoint(directory, reason))
}
