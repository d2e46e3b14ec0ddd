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
mod text;
pub mod trtllm;
mod weights;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

pub use error::BuildError;
pub use progress::{Console, Progress, Silent};
use sha2::{Digest, Sha256};

use crate::engine::cpu;
use crate::engine::manifest::{
    BuildLimits, BuiltWith, Dtype, FORMAT, FileDigest, Head, MANIFEST_FILE, Manifest, Profile, PromptSpec,
    TEMPLATE_FILE, TOKENIZER_FILE, Target, Task, WEIGHTS_FILE, profile_name,
};
use crate::engine::verify::hexadecimal;
use checkpoint::Checkpoint;
use config::Config;
use output::Staging;
use plan::Ending;

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
    foreign::refuse(&options.model)?;
    let config = config::read(&options.model, name(options)?)?;
    let limits = limits(options, &config)?;
    let may_complete = config.rest == "ForCausalLM" && options.task != Some(Task::Reward);
    let text = text::read(&options.model, config.model.vocab_size, !may_complete)?;
    let (dtype, note) = choose_dtype(options.dtype, cpu::supports_bf16(), cpu::supports_int8());
    let checkpoint = Checkpoint::open(&options.model)?;
    let task = language::task(options.task, &config, &checkpoint, options.head.is_some(), &text)?;
    if let Some(note) = note {
        progress.note(note);
    }
    let (plan, head, prompt, recognised) = match task {
        Task::Reward => {
            let head = head::recognise(&config, &checkpoint, options.head.as_ref())?;
            let plan = plan::plan(&checkpoint, &config.model, Ending::Scores(&head), dtype, true)?;
            let recognised = head.describe(&config);
            let prompt = PromptSpec {
                suffix: config.suffix.clone(),
                generation_prompt: head.generation_prompt,
                step_token: head.step_token.map(str::to_owned),
                ..text.prompt
            };
            (plan, head.manifest(&config, &checkpoint, &text.encoder)?, prompt, recognised)
        }
        Task::Chat | Task::Completion => {
            let matrix = language::matrix(&config, &checkpoint);
            let plan = plan::plan(&checkpoint, &config.model, Ending::Vocabulary(matrix), dtype, true)?;
            let end_tokens = language::end_tokens(&options.model, &config, &text)?;
            let model = &config.model;
            let recognised = format!(
                "recognised {} ({:?}): a language model for {task}, ended by the tokens {end_tokens:?}",
                model.architecture, model.family
            );
            let head = Head { softcap: config.final_softcap, ..Head::default() };
            (plan, head, PromptSpec { end_tokens, ..text.prompt }, recognised)
        }
    };

    let staging = Staging::new(&options.output)?;
    progress.note(&recognised);
    let mut files = BTreeMap::new();
    for (file, content) in [(TOKENIZER_FILE, &text.tokenizer), (TEMPLATE_FILE, &text.template)] {
        staging.write(file, content.as_bytes())?;
        let sha256 = hexadecimal(&Sha256::digest(content.as_bytes()));
        files.insert(file.to_owned(), FileDigest { bytes: content.len() as u64, sha256 });
    }
    let weights = weights::write(&staging.join(WEIGHTS_FILE), &plan, progress)?;
    files.insert(WEIGHTS_FILE.to_owned(), weights);

    let target = Target::Cpu { instruction_set: cpu::instruction_set() };
    let mut manifest = Manifest {
        format: FORMAT,
        profile: Profile { id: String::new(), name: profile_name(&target, dtype) },
        model: config.model,
        task,
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

/// The name that was asked for, or the checkpoint's own.
fn name(options: &BuildOptions) -> Result<String, BuildError> {
    let model = options.model.display();
    let name = match &options.name {
        Some(name) => Some(name.clone()),
        None => match std::fs::canonicalize(&options.model) {
            Ok(path) => checkpoint_name(&path),
            Err(error) => {
                let reason = format!(
                    "--model {model} cannot be found ({error}); it must be a directory on this machine, \
                     so a model of the Hugging Face hub is to be fetched first (`hf download`)"
                );
                return Err(BuildError::Option(reason));
            }
        },
    };
    name.filter(|name| !name.trim().is_empty() && !name.contains(char::is_control)).ok_or_else(|| {
        BuildError::Option(format!("--model {model} gives no name to serve it under; say one with --name"))
    })
}

/// The directory's name; `owner/name` in the hub's cache, whose directories are called after commits:
/// `models--owner--name/snapshots/COMMIT`.
fn checkpoint_name(path: &Path) -> Option<String> {
    let name = |path: &Path| path.file_name().map(|name| name.to_string_lossy().into_owned());
    let parent = path.parent()?;
    if name(parent).as_deref() == Some("snapshots")
        && let Some(repository) = parent.parent().and_then(name)
        && let Some(repository) = repository.strip_prefix("models--")
    {
        return Some(repository.replace("--", "/"));
    }
    name(path)
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

    #[test]
    fn a_checkpoint_in_the_hubs_cache_is_named_after_its_repository() {
        let name = |path| checkpoint_name(Path::new(path)).unwrap();
        assert_eq!(name("/cache/models--acme--judge-8b/snapshots/0123abcd"), "acme/judge-8b");
        assert_eq!(name("/models/snapshots/judge"), "judge");
        assert_eq!(name("/models/judge"), "judge");
    }
}
