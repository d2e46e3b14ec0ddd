//! What `build-engine` does: a Hugging Face checkpoint in, an engine directory out.
//!
//! Everything that can be wrong with a checkpoint is looked for before the first byte is written, its
//! numbers aside, which are checked as they are converted. Tensors go through one at a time, and the
//! output directory appears only when it is complete.

mod checkpoint;
mod config;
mod convert;
mod error;
mod family;
mod foreign;
mod head;
mod json;
mod language;
mod output;
mod plan;
mod progress;
mod quantize;
mod rope;
mod source;
mod text;
pub mod trtllm;
mod weights;

use std::collections::BTreeMap;
use std::path::PathBuf;

pub use error::BuildError;
pub use progress::{Console, Progress, Silent};
use sha2::{Digest, Sha256};

use crate::engine::cpu;
use crate::hardware::profile_name;
use crate::manifest::verify::hexadecimal;
use crate::manifest::{
    BuildLimits, BuiltWith, Dtype, FORMAT, FileDigest, HEAD_FILE, MANIFEST_FILE, Manifest, NUMERICS, Profile,
    Target, Task, WEIGHTS_FILE,
};
use config::Config;
use output::Staging;
use source::{Source, Wish};

/// Longest sequence of an engine unless its builder asks for more: what a processor reads in good time.
pub const DEFAULT_MAX_SEQ_LEN: usize = 32768;
/// Most sequences in one iteration unless the builder says otherwise.
pub const DEFAULT_MAX_BATCH_SIZE: usize = 256;
/// Most tokens in one iteration unless the builder says otherwise.
pub const DEFAULT_MAX_NUM_TOKENS: usize = 2048;

/// What to build.
#[derive(Clone, Debug)]
pub struct BuildOptions {
    /// Directory of the checkpoint.
    pub model: PathBuf,
    /// Directory to make; it may exist if it is empty.
    pub output: PathBuf,
    /// Type of weights and activations; bf16 where this machine has it, if none is given.
    pub dtype: Option<Dtype>,
    /// Name under which the engine is served; the checkpoint directory's, if none is given.
    pub name: Option<String>,
    /// Longest sequence in tokens; the model's, up to [`DEFAULT_MAX_SEQ_LEN`], if none is given.
    pub max_seq_len: Option<usize>,
    /// What to build it for; what it was made for, if nothing is said.
    pub task: Option<Task>,
    /// File that says what the checkpoint leaves open of its head.
    pub head: Option<PathBuf>,
    /// Most sequences in one iteration.
    pub max_batch_size: usize,
    /// Most tokens in one iteration.
    pub max_num_tokens: usize,
}

impl BuildOptions {
    /// Builds `model` into `output`, everything else by default.
    pub fn new(model: impl Into<PathBuf>, output: impl Into<PathBuf>) -> Self {
        Self {
            model: model.into(),
            output: output.into(),
            dtype: None,
            name: None,
            max_seq_len: None,
            task: None,
            head: None,
            max_batch_size: DEFAULT_MAX_BATCH_SIZE,
            max_num_tokens: DEFAULT_MAX_NUM_TOKENS,
        }
    }
}

/// Builds an engine for this machine's processor. The same checkpoint, options and machine give the
/// same bytes.
///
/// # Errors
/// The checkpoint cannot be built, the output cannot be written, or `progress` interrupted the build.
/// Nothing is left at `options.output` then.
pub fn build(options: &BuildOptions, progress: &dyn Progress) -> Result<Manifest, BuildError> {
    let source = Source::open(Wish {
        model: &options.model,
        name: options.name.as_deref(),
        task: options.task,
        head: options.head.as_ref(),
    })?;
    let limits = limits(options, &source.config)?;
    let (dtype, note) = choose_dtype(options.dtype, cpu::supports_bf16(), cpu::supports_int8());
    if let Some(note) = note {
        progress.note(note);
    }
    let plan = source.plan(dtype, true)?;
    let (head, prompt) = (source.head()?, source.prompt());

    let staging = Staging::new(&options.output)?;
    progress.note(&source.describe());
    let mut files = BTreeMap::new();
    for (file, content) in source.text.files() {
        staging.write(file, content.as_bytes())?;
        let sha256 = hexadecimal(&Sha256::digest(content.as_bytes()));
        files.insert(file.to_owned(), FileDigest { bytes: content.len() as u64, sha256 });
    }
    let weights = weights::write(&staging.join(WEIGHTS_FILE), &plan.weights, progress)?;
    files.insert(WEIGHTS_FILE.to_owned(), weights);
    if !plan.head.is_empty() {
        let head = weights::write(&staging.join(HEAD_FILE), &plan.head, &Silent)?;
        files.insert(HEAD_FILE.to_owned(), head);
    }

    let target = Target::Cpu { instruction_set: cpu::instruction_set() };
    let mut manifest = Manifest {
        format: FORMAT,
        numerics: NUMERICS,
        profile: Profile { id: String::new(), name: profile_name(&target, dtype) },
        model: source.config.model.clone(),
        task: source.task,
        target,
        built_with: BuiltWith { assay: env!("CARGO_PKG_VERSION").to_owned(), onednn: cpu::onednn_version() },
        dtype,
        limits,
        head,
        prompt,
        files,
    };
    write_manifest(&staging, &mut manifest)?;
    staging.publish()?;
    Ok(manifest)
}

fn write_manifest(staging: &Staging, manifest: &mut Manifest) -> Result<(), BuildError> {
    let unwritable =
        |reason: String| BuildError::write(staging.join(MANIFEST_FILE))(std::io::Error::other(reason));
    manifest.profile.id = manifest.profile_id().map_err(unwritable)?;
    let text = serde_saphyr::to_string(manifest).map_err(|error| unwritable(error.to_string()))?;
    staging.write(MANIFEST_FILE, text.as_bytes())
}

fn limits(options: &BuildOptions, config: &Config) -> Result<BuildLimits, BuildError> {
    let max_seq_len = options.max_seq_len.unwrap_or(config.max_position_embeddings.min(DEFAULT_MAX_SEQ_LEN));
    if max_seq_len > config.longest {
        return Err(BuildError::Option(format!(
            "--max-seq-len {max_seq_len} is more than the model can tell apart: its positions reach {}",
            config.longest
        )));
    }
    let (max_batch_size, max_num_tokens) = (options.max_batch_size, options.max_num_tokens);
    for (option, value) in [
        ("--max-seq-len", max_seq_len),
        ("--max-batch-size", max_batch_size),
        ("--max-num-tokens", max_num_tokens),
    ] {
        if value == 0 {
            return Err(BuildError::Option(format!("{option} must be at least 1")));
        }
    }
    Ok(BuildLimits { max_seq_len, max_batch_size, max_num_tokens })
}

/// The engine's type, and what to say where it is not the one that was asked for.
fn choose_dtype(asked: Option<Dtype>, has_bf16: bool, has_int8: bool) -> (Dtype, Option<&'static str>) {
    match asked {
        Some(Dtype::Int8) if has_int8 => (Dtype::Int8, None),
        Some(Dtype::Int8) => {
            (Dtype::F32, Some("this processor has no int8 arithmetic, so the engine is built in f32 instead"))
        }
        Some(Dtype::F32) => (Dtype::F32, None),
        Some(Dtype::Bf16) | None if has_bf16 => (Dtype::Bf16, None),
        Some(Dtype::Bf16) => {
            (Dtype::F32, Some("this processor has no bf16 arithmetic, so the engine is built in f32 instead"))
        }
        None => (Dtype::F32, Some("this processor has no bf16 arithmetic, so the engine is built in f32")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bf16_and_int8_are_used_only_where_the_processor_has_them_and_the_user_is_told() {
        assert_eq!(choose_dtype(None, true, true), (Dtype::Bf16, None));
        assert_eq!(choose_dtype(Some(Dtype::Bf16), true, false), (Dtype::Bf16, None));
        assert_eq!(choose_dtype(Some(Dtype::F32), true, true), (Dtype::F32, None));
        assert_eq!(choose_dtype(Some(Dtype::F32), false, false), (Dtype::F32, None));
        for asked in [None, Some(Dtype::Bf16)] {
            let (dtype, note) = choose_dtype(asked, false, true);
            assert_eq!(dtype, Dtype::F32);
            assert!(note.unwrap().contains("no bf16"), "{note:?}");
        }
        assert_eq!(choose_dtype(Some(Dtype::Int8), false, true), (Dtype::Int8, None));
        let (dtype, note) = choose_dtype(Some(Dtype::Int8), true, false);
        assert!(dtype == Dtype::F32 && note.unwrap().contains("no int8"), "{note:?}");
    }
}
