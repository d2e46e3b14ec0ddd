//! The tensors of a checkpoint, under the names that transformers gives them.

mod files;
mod tensor;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::BuildError;
use super::adapter::{Adapter, Axes, Merge};
use super::families::FamilySpec;
use super::stored::{Stored, open as open_file};
use super::tensor_names;
pub(super) use files::has_weights;
pub(super) use tensor::Tensor;

/// A checkpoint's tensors. Their numbers are read only when they are needed.
pub(super) struct Checkpoint {
    tensors: BTreeMap<String, Entry>,
    /// The file that errors about missing tensors name.
    listing: PathBuf,
}

/// A tensor, and what an adapter changes in it.
struct Entry {
    stored: Stored,
    merge: Option<Merge>,
    /// Whether it is an adapter's.
    adapted: bool,
}

impl Checkpoint {
    /// Finds the tensors of the checkpoint in `directory`. `head_directory` may hold a head in files of its own.
    ///
    /// # Errors
    /// There are no weights in a form that can be read, or a file is damaged.
    pub(super) fn open(directory: &Path, head_directory: &Path) -> Result<Self, BuildError> {
        let weights = files::find(directory)?;
        let mut found = Vec::new();
        for path in &weights.paths {
            found.extend(open_file(path, weights.index.as_ref().map(|_| files::INDEX_FILE))?);
        }
        if let Some(index) = &weights.index {
            index.check(&found)?;
        }
        for head in files::heads(head_directory)? {
            found.extend(open_file(&head, None)?);
        }
        let mut tensors: BTreeMap<String, Entry> = BTreeMap::new();
        for (name, stored) in tensor_names::normalise(found) {
            if let Some(other) = tensors.get(&name) {
                return Err(files::in_two_files(&name, &stored, other.stored.path()));
            }
            tensors.insert(name, Entry { stored, merge: None, adapted: false });
        }
        Ok(Self { tensors, listing: weights.listing })
    }

    /// Renames the tensors, and leaves out those without a new name. Returns how many those are.
    pub(super) fn rename(&mut self, new_name: impl Fn(&str) -> Option<String>) -> usize {
        let before = self.tensors.len();
        for (name, entry) in std::mem::take(&mut self.tensors) {
            if let Some(name) = new_name(&name) {
                self.tensors.insert(name, entry);
            }
        }
        before - self.tensors.len()
    }

    /// If the checkpoint holds the family's base model by itself, gives its tensors the names that they have in the whole
    /// model.
    pub(super) fn name_as_whole_model(&mut self, family: &FamilySpec) {
        let whole_name = |name: &str| tensor_names::in_whole_model(name, family);
        let is_embedding =
            |name: &String| whole_name(name).is_some_and(|name| name == family.tensors.embedding);
        if self.has(family.tensors.embedding) || !self.tensors.keys().any(is_embedding) {
            return;
        }
        for (name, entry) in std::mem::take(&mut self.tensors) {
            let name = whole_name(&name).unwrap_or(name);
            self.tensors.insert(name, entry);
        }
    }

    /// Merges an adapter. Its whole tensors replace the checkpoint's own. Tensors without a new name belong to parts
    /// that are not built. `axes` says how a matrix of a new name is stored.
    ///
    /// # Errors
    /// The adapter changes a tensor that the checkpoint lacks or that has another shape.
    pub(super) fn adapt(
        &mut self,
        adapter: &Adapter,
        new_name: impl Fn(&str) -> Option<String>,
        axes: impl Fn(&str) -> Axes,
    ) -> Result<(), BuildError> {
        for (name, stored) in &adapter.replaced {
            let Some(name) = new_name(name) else { continue };
            let entry = Entry { stored: stored.clone(), merge: None, adapted: true };
            self.tensors.insert(name, entry);
        }
        for (name, change) in &adapter.changes {
            let Some(name) = new_name(name) else { continue };
            let Some(entry) = self.tensors.get_mut(&name) else {
                return Err(adapter.no_such_tensor(&name, &self.listing));
            };
            entry.merge = Some(change.laid_out(axes(&name)).merge(&name, &entry.stored)?);
        }
        Ok(())
    }

    /// The rows of a tensor that an adapter brings whole, such as an embedding with new tokens.
    pub(super) fn adapted_rows(&self, name: &str) -> Option<usize> {
        let entry = self.tensors.get(name).filter(|entry| entry.adapted)?;
        entry.stored.shape.first().copied()
    }

    /// Leaves out the tensors whose names start so.
    pub(super) fn remove(&mut self, start: &str) {
        self.tensors.retain(|name, _| !name.starts_with(start));
    }

    /// Adds a tensor that was computed from others.
    pub(super) fn insert_computed(&mut self, name: String, shape: Vec<usize>, values: Vec<f32>) {
        let stored = Stored::computed(&self.listing, shape, values);
        self.tensors.insert(name, Entry { stored, merge: None, adapted: false });
    }

    /// The file that should list every tensor.
    pub(super) fn listing(&self) -> &Path {
        &self.listing
    }

    pub(super) fn tensor(&self, name: &str) -> Option<Tensor<'_>> {
        let (name, entry) = self.tensors.get_key_value(name)?;
        Some(Tensor::new(name, &entry.stored, entry.merge.as_ref()))
    }

    pub(super) fn has(&self, name: &str) -> bool {
        self.tensors.contains_key(name)
    }

    /// The tensor that most likely has the place of a missing one: another class or a wrapper gave its name another
    /// start, or one more module before its last part.
    pub(super) fn resembling(&self, missing: &str) -> Option<&str> {
        let names = || self.tensors.keys().map(String::as_str);
        let (module, kind) = missing.rsplit_once('.')?;
        let wrapped = |name: &&str| {
            name.strip_prefix(module).is_some_and(|rest| rest.starts_with('.') && has_end(rest, kind))
        };
        if let Some(found) = names().find(|name| has_end(name, missing)).or_else(|| names().find(wrapped)) {
            return Some(found);
        }
        let parts: Vec<&str> = missing.split('.').collect();
        // A part of another layer, or of the same model, is not it.
        let number = parts.iter().position(|part| part.parse::<usize>().is_ok());
        let last = number.unwrap_or(parts.len().saturating_sub(2));
        let of_another = |name: &&str| name.split('.').next() != parts.first().copied();
        (1..=last).find_map(|from| {
            let end = parts[from..].join(".");
            names().filter(of_another).find(|name| has_end(name, &end))
        })
    }

    /// Every tensor, by name.
    pub(super) fn tensors(&self) -> impl Iterator<Item = Tensor<'_>> {
        self.tensors.iter().map(|(name, entry)| Tensor::new(name, &entry.stored, entry.merge.as_ref()))
    }
}

/// Whether a name consists of `end` and modules around it.
fn has_end(name: &str, end: &str) -> bool {
    name.strip_suffix(end).is_some_and(|rest| rest.ends_with('.'))
}
