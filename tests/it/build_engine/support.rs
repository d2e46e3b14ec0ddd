//! Copies of the test checkpoints, to build and to break.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use assay::builder::cpu::{CpuBuildOptions, build};
use assay::builder::{BuildError, Progress, Silent};
use assay::manifest::{Dtype, Manifest};
use safetensors::SafeTensors;
use safetensors::tensor::TensorView;
use serde_json::Value;

use crate::support::wide::widen;

pub(crate) const CHECKPOINTS: [&str; 31] = [
    "llama3-tiny",
    "llama2-tiny",
    "llama-linear",
    "qwen2-tiny",
    "qwen2-yarn",
    "qwen2-window",
    "qwen3-tiny",
    "mistral-tiny",
    "gemma2-tiny",
    "gemma3-tiny",
    "gemma3-vision",
    "ministral-tiny",
    "ministral3-tiny",
    "nemotron-tiny",
    "phi3-tiny",
    "phi3-longrope",
    "llama-dynamic",
    "olmo2-tiny",
    "olmo3-tiny",
    "glm-tiny",
    "glm4-tiny",
    "granite-tiny",
    "cohere-tiny",
    "cohere-norms",
    "cohere2-tiny",
    "neox-tiny",
    "mixtral-tiny",
    "qwen3-moe-tiny",
    "qwen2-moe-tiny",
    "olmoe-tiny",
    "internlm2-tiny",
];

/// A tensor of a checkpoint: type, shape, bytes.
pub(crate) type Tensor = (safetensors::Dtype, Vec<usize>, Vec<u8>);

/// A checkpoint in a directory of its own, with room for engines beside it.
pub(crate) struct Checkpoint {
    root: tempfile::TempDir,
    name: String,
}

impl Checkpoint {
    /// A copy of one of the test checkpoints.
    pub(crate) fn copy(name: &str) -> Self {
        let copy = Self { root: tempfile::tempdir().unwrap(), name: name.to_owned() };
        let original = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/checkpoints").join(name);
        copy_into(&original, &copy.path());
        copy
    }

    /// A copy with heads as wide as TensorRT-LLM needs them.
    pub(crate) fn wide(name: &str) -> Self {
        let copy = Self::copy(name);
        widen(&copy.path());
        copy
    }

    pub(crate) fn path(&self) -> PathBuf {
        self.root.path().join(&self.name)
    }

    pub(crate) fn file(&self, name: &str) -> PathBuf {
        self.path().join(name)
    }

    /// A path beside the checkpoint.
    pub(crate) fn beside(&self, name: &str) -> PathBuf {
        self.root.path().join(name)
    }

    /// Names of everything beside the checkpoint.
    pub(crate) fn neighbours(&self) -> Vec<String> {
        let entries = std::fs::read_dir(self.root.path()).unwrap();
        let names = entries.map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned());
        names.filter(|name| *name != self.name).collect()
    }

    /// Changes one of its JSON files.
    pub(crate) fn edit(&self, file: &str, change: impl FnOnce(&mut Value)) -> &Self {
        let path = self.file(file);
        let mut value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
        change(&mut value);
        std::fs::write(path, value.to_string()).unwrap();
        self
    }

    pub(crate) fn set(&self, field: &str, value: Value) -> &Self {
        self.edit("config.json", |config| config[field] = value)
    }

    /// Tensors of one of its safetensors files.
    pub(crate) fn tensors(&self, file: &str) -> BTreeMap<String, Tensor> {
        read_tensors(&self.file(file))
    }

    /// Renames the tensors of a safetensors file.
    pub(crate) fn rewrite(&self, path: &Path, name: impl Fn(&str) -> String) {
        let renamed = read_tensors(path).into_iter().map(|(old, tensor)| (name(&old), tensor)).collect();
        write_tensors(path, &renamed);
    }

    /// Moves the tensors whose names start with `start` from `model.safetensors` to a file of their own.
    pub(crate) fn split_head(&self, start: &str, file: &str) {
        let (head, rest) =
            self.tensors("model.safetensors").into_iter().partition(|(name, _)| name.starts_with(start));
        write_tensors(&self.file(file), &head);
        write_tensors(&self.file("model.safetensors"), &rest);
    }

    /// Changes the tensors of `model.safetensors`.
    pub(crate) fn retensor(&self, change: impl FnOnce(&mut BTreeMap<String, Tensor>)) -> &Self {
        let mut tensors = self.tensors("model.safetensors");
        change(&mut tensors);
        write_tensors(&self.file("model.safetensors"), &tensors);
        self
    }

    pub(crate) fn options(&self, dtype: Dtype) -> CpuBuildOptions {
        CpuBuildOptions { dtype: Some(dtype), ..CpuBuildOptions::new(self.path(), self.beside("engine")) }
    }

    /// Builds it into `engine` beside it.
    pub(crate) fn build(&self, dtype: Dtype) -> Result<Manifest, BuildError> {
        build(&self.options(dtype), &Silent)
    }

    /// Builds it again, in f32; returns the manifest and the lines that the build shows.
    pub(crate) fn said(&self) -> (Manifest, String) {
        self.remove_engine();
        let notes = Notes::default();
        let manifest = build(&self.options(Dtype::F32), &notes).unwrap();
        (manifest, notes.lines())
    }

    fn remove_engine(&self) {
        // There may be none.
        let _ = std::fs::remove_dir_all(self.beside("engine"));
    }

    /// Builds it, which must fail and leave nothing; returns the error's text.
    pub(crate) fn refusal(&self) -> String {
        self.remove_engine();
        let sentence = self.build(Dtype::F32).expect_err("it was built").to_string();
        assert_eq!(self.neighbours(), [""; 0], "left behind after: {sentence}");
        sentence
    }
}

/// Collects the lines that a build shows.
#[derive(Default)]
pub(crate) struct Notes(Mutex<String>);

impl Progress for Notes {
    fn note(&self, text: &str) {
        let mut notes = self.0.lock().unwrap();
        notes.push_str(text);
        notes.push('\n');
    }
}

impl Notes {
    pub(crate) fn lines(self) -> String {
        self.0.into_inner().unwrap()
    }
}

/// Asserts that a sentence names all of these.
#[track_caller]
pub(crate) fn assert_names(sentence: &str, parts: &[&str]) {
    for part in parts {
        assert!(sentence.contains(part), "nothing about {part:?} in: {sentence}");
    }
}

/// Copies the files of a directory into another, which is made if it is not there.
pub(crate) fn copy_into(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        std::fs::copy(entry.path(), to.join(entry.file_name())).unwrap();
    }
}

/// The tensors of a safetensors file.
pub(crate) fn read_tensors(path: &Path) -> BTreeMap<String, Tensor> {
    let bytes = std::fs::read(path).unwrap();
    let tensors = SafeTensors::deserialize(&bytes).unwrap();
    let owned = |(name, tensor): (&str, TensorView<'_>)| {
        (name.to_owned(), (tensor.dtype(), tensor.shape().to_vec(), tensor.data().to_vec()))
    };
    tensors.iter().map(owned).collect()
}

pub(crate) fn write_tensors(path: &Path, tensors: &BTreeMap<String, Tensor>) {
    let views = tensors.iter().map(|(name, (dtype, shape, bytes))| {
        (name.clone(), TensorView::new(*dtype, shape.clone(), bytes).unwrap())
    });
    std::fs::write(path, safetensors::serialize(views, None).unwrap()).unwrap();
}
