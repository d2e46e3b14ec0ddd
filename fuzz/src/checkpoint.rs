//! A checkpoint whose files the targets replace one at a time.

use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};

use assay::builder::cpu::{CpuBuildOptions, build};
use assay::builder::{BuildError, Progress};
use assay::manifest::Dtype;
use tempfile::TempDir;

use crate::memory_directory;

/// A file of one of the test checkpoints.
pub fn fixture(checkpoint: &str, file: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/checkpoints").join(checkpoint).join(file)
}

/// A checkpoint in memory, of a Llama reward model with a small tokenizer: parsing a large one takes most of the
/// time of a run.
pub struct Checkpoint {
    directory: TempDir,
}

impl Checkpoint {
    pub fn new() -> Self {
        let checkpoint = Self { directory: memory_directory() };
        for file in ["config.json", "tokenizer_config.json", "model.safetensors"] {
            std::fs::copy(fixture("llama3-tiny", file), checkpoint.path(file))
                .expect("the fixture can be copied");
        }
        checkpoint.replace("tokenizer.json", include_bytes!("../seeds/tokenizers/word_level.json"));
        checkpoint.replace("chat_template.jinja", include_bytes!("../seeds/templates/turns.jinja"));
        checkpoint
    }

    /// The checkpoint's directory.
    pub fn directory(&self) -> &Path {
        self.directory.path()
    }

    /// The path of one of its files.
    pub fn path(&self, file: &str) -> PathBuf {
        self.directory.path().join(file)
    }

    /// Writes a file of the checkpoint.
    pub fn replace(&self, file: &str, content: &[u8]) {
        std::fs::write(self.path(file), content).expect("the checkpoint can be written");
    }

    /// Writes `model.safetensors` with this header and zeros, which take no memory, up to `data_bytes`.
    pub fn replace_header(&self, header: &[u8], data_bytes: u64) {
        let path = self.path("model.safetensors");
        let mut file = File::create(path).expect("the checkpoint can be written");
        file.write_all(&(header.len() as u64).to_le_bytes()).expect("the length can be written");
        file.write_all(header).expect("the header can be written");
        file.set_len(8 + header.len() as u64 + data_bytes).expect("the file can be extended");
    }

    /// Builds an engine of the checkpoint, up to where its first tensor would be written.
    ///
    /// # Errors
    /// Why the checkpoint cannot be built.
    pub fn check(&self) -> Result<(), BuildError> {
        let output = self.directory.path().join("engine");
        let mut options = CpuBuildOptions::new(self.directory(), output);
        options.common.name = Some("fuzz".into());
        options.dtype = Some(Dtype::F32);
        match build(&options, &StopBeforeWriting) {
            Ok(_) | Err(BuildError::Interrupted) => Ok(()),
            Err(error) => Err(error),
        }
    }
}

impl Default for Checkpoint {
    fn default() -> Self {
        Self::new()
    }
}

struct StopBeforeWriting;

impl Progress for StopBeforeWriting {
    fn interrupted(&self) -> bool {
        true
    }
}
