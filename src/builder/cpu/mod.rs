//! Engines for this machine's processor.

use std::collections::BTreeMap;
use std::path::PathBuf;

use super::config::Config;
use super::engine_manifest;
use super::options::{BuildOptions, DEFAULT_MAX_SEQ_LEN, check_limits};
use super::output::Staging;
use super::source::Source;
use super::{BuildError, Progress, Silent, weights};
use crate::engine::cpu::check_model;
use crate::hardware::Cpu;
use crate::manifest::{BuildLimits, Dtype, FileDigest, HEAD_FILE, Manifest, Target, Task, WEIGHTS_FILE};

/// Maximum number of sequences in one iteration unless an option says otherwise.
pub const DEFAULT_MAX_BATCH_SIZE: usize = 256;
/// Maximum number of tokens in one iteration unless an option says otherwise.
pub const DEFAULT_MAX_NUM_TOKENS: usize = 2048;

/// What to build for a processor.
#[derive(Clone, Debug)]
pub struct CpuBuildOptions {
    /// Options of every build.
    pub common: BuildOptions,
    /// Type of weights and activations; by default bf16 if this processor computes in it, else f32.
    pub dtype: Option<Dtype>,
    /// Whether the sizes of channels are evened out by powers of two, which keeps every bit of a score in f32 and bf16;
    /// by default only in int8, which needs it.
    pub balance: Option<bool>,
}

impl CpuBuildOptions {
    /// Builds `model` into `output` with defaults for everything else.
    pub fn new(model: impl Into<PathBuf>, output: impl Into<PathBuf>) -> Self {
        Self { common: BuildOptions::new(model, output), dtype: None, balance: None }
    }
}

/// Builds an engine for this machine's processor. The same checkpoint, options and machine give the same bytes.
///
/// # Errors
/// The checkpoint cannot be built, the output cannot be written, or `progress` interrupted the build. Nothing is
/// left in the output directory then.
pub fn build(options: &CpuBuildOptions, progress: &dyn Progress) -> Result<Manifest, BuildError> {
    let CpuBuildOptions { common, dtype, balance } = options;
    let source = Source::open(common)?;
    let limits = limits(common, &source.config, source.task)?;
    let cpu = Cpu::detect();
    let (dtype, note) = choose_dtype(*dtype, cpu.bf16, cpu.int8);
    if let Some(note) = note {
        progress.note(note);
    }
    let mut tensors = source.plan(dtype, true)?;
    let target = Target::Cpu { instruction_set: cpu.instruction_set };
    let mut manifest = engine_manifest::draft(&source, target, dtype, limits, source.head()?);
    // The engine would refuse these when it starts.
    check_model(&manifest)
        .map_err(|error| BuildError::checkpoint(source.config.object.path(), error.to_string()))?;

    let staging = Staging::new(&common.output)?;
    progress.note(&source.describe());
    if balance.unwrap_or(dtype == Dtype::Int8) {
        let balanced = super::balance::balance(&mut tensors.weights, &source.config.model, progress)?;
        progress.note(&balanced.describe());
    }
    let mut files = BTreeMap::new();
    for (file, content) in source.text.files() {
        staging.write(file, content.as_bytes())?;
        files.insert(file.to_owned(), FileDigest::from_content(content.as_bytes()));
    }
    let weights = weights::write(&staging.join(WEIGHTS_FILE), &tensors.weights, progress)?;
    files.insert(WEIGHTS_FILE.to_owned(), weights);
    if !tensors.head.is_empty() {
        let head = weights::write(&staging.join(HEAD_FILE), &tensors.head, &Silent)?;
        files.insert(HEAD_FILE.to_owned(), head);
    }

    manifest.built_with.onednn = cpu.onednn;
    manifest.files = files;
    engine_manifest::write(&staging, &mut manifest)?;
    staging.publish()?;
    Ok(manifest)
}

fn limits(options: &BuildOptions, config: &Config, task: Task) -> Result<BuildLimits, BuildError> {
    let usual = config.model.rope.scaling.usual_length().filter(|_| task.generates());
    let default_length =
        config.max_position_embeddings.min(DEFAULT_MAX_SEQ_LEN).min(usual.unwrap_or(usize::MAX));
    let max_seq_len = options.max_seq_len.unwrap_or(default_length);
    // An encoder reads a text as a whole.
    let is_encoder = config.model.variant.bidirectional.is_some();
    let least_num_tokens = if is_encoder { max_seq_len } else { 1 };
    let limits = BuildLimits {
        max_seq_len,
        max_batch_size: options.max_batch_size.unwrap_or(DEFAULT_MAX_BATCH_SIZE),
        max_num_tokens: options.max_num_tokens.unwrap_or(DEFAULT_MAX_NUM_TOKENS.max(least_num_tokens)),
    };
    if limits.max_num_tokens < least_num_tokens {
        return Err(BuildError::Option(format!(
            "--max-num-tokens {}: an encoder reads a text as a whole, and texts have up to {max_seq_len} tokens; raise it \
             or lower --max-seq-len",
            limits.max_num_tokens
        )));
    }
    if limits.max_seq_len > config.longest {
        return Err(BuildError::Option(format!(
            "--max-seq-len {} is more than the model has positions for: its positions reach {}",
            limits.max_seq_len, config.longest
        )));
    }
    if let Some(usual) = usual
        && limits.max_seq_len > usual
    {
        return Err(BuildError::Option(format!(
            "--max-seq-len {}: in texts of more than {usual} tokens this model uses other rotary frequencies from the \
             first token on, so generated text cannot grow past that; use at most {usual}",
            limits.max_seq_len
        )));
    }
    check_limits(&limits)?;
    Ok(limits)
}

/// The engine's type, and a note for the user if it is not the requested one.
fn choose_dtype(requested: Option<Dtype>, has_bf16: bool, has_int8: bool) -> (Dtype, Option<&'static str>) {
    match requested {
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
    fn bf16_and_int8_are_used_only_if_the_processor_has_them_and_a_note_says_so() {
        assert_eq!(choose_dtype(None, true, true), (Dtype::Bf16, None));
        assert_eq!(choose_dtype(Some(Dtype::Bf16), true, false), (Dtype::Bf16, None));
        assert_eq!(choose_dtype(Some(Dtype::F32), true, true), (Dtype::F32, None));
        assert_eq!(choose_dtype(Some(Dtype::F32), false, false), (Dtype::F32, None));
        for requested in [None, Some(Dtype::Bf16)] {
            let (dtype, note) = choose_dtype(requested, false, true);
            assert_eq!(dtype, Dtype::F32);
            assert!(note.unwrap().contains("no bf16"), "{note:?}");
        }
        assert_eq!(choose_dtype(Some(Dtype::Int8), false, true), (Dtype::Int8, None));
        let (dtype, note) = choose_dtype(Some(Dtype::Int8), true, false);
        assert!(dtype == Dtype::F32 && note.unwrap().contains("no int8"), "{note:?}");
    }
}
