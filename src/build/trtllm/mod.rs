//! Engines for NVIDIA GPUs: a checkpoint for `trtllm-build` of TensorRT-LLM 1.2.1, and what that makes of it.
//!
//! Everything that can be refused is, before the first byte is written. The checkpoint is written tensor by
//! tensor. It may stay the result, with what the second step needs to know of it in [`DRAFT_FILE`], and be
//! built on another machine later.

mod command;
mod config_json;
mod engine;
mod families;
mod fit;
mod layout;
mod machine;
mod mapping;
mod prequantized;
mod quantize;
mod rank_file;
mod report;

use std::path::{Path, PathBuf};

pub use mapping::Mapping;

use super::checkpoint::Checkpoint;
use super::config::{self, Config};
use super::output::Staging;
use super::plan::Planned;
use super::{BuildError, BuildOptions, DEFAULT_MAX_SEQ_LEN, Progress, convert, head, name, plan, text};
use crate::engine::gpus::Gpus as Machine;
use crate::engine::manifest::{
    BuildLimits, BuiltWith, Dtype, FORMAT, Gpus, Manifest, Objective, Profile, PromptSpec, Quantization,
    TEMPLATE_FILE, TOKENIZER_FILE, Target as EngineTarget, Task, profile_name,
};
use crate::engine::target::{Kind, Precision, Target};
use fit::Memory;
use layout::Layout;
use prequantized::Prequantized;
use quantize::{Format, Integers, TILE};

/// What the second step needs to know of a checkpoint: the manifest without what only an engine has.
pub const DRAFT_FILE: &str = "checkpoint.yaml";

/// What to build.
#[derive(Clone, Debug)]
pub struct Options {
    /// Directory of the reward model's checkpoint, or one that `checkpoint_only` left.
    pub model: PathBuf,
    /// Directory to make; it may exist if it is empty.
    pub output: PathBuf,
    /// Name of the target.
    pub target: String,
    /// Name under which the engine is served; the checkpoint directory's, if none is given.
    pub name: Option<String>,
    /// File that says what the checkpoint leaves open of its head.
    pub head: Option<PathBuf>,
    /// Ranks that each hold a part of every layer.
    pub tensor_parallel: usize,
    /// Stages that each hold some of the layers.
    pub pipeline_parallel: usize,
    /// How layers are quantized.
    pub quantization: Quantization,
    /// A TensorRT-LLM checkpoint of modelopt's whose layers are taken.
    pub quantized: Option<PathBuf>,
    /// What it is tuned for.
    pub objective: Objective,
    /// Longest sequence in tokens.
    pub max_seq_len: Option<usize>,
    /// Most sequences in one iteration.
    pub max_batch_size: Option<usize>,
    /// Most tokens in one iteration.
    pub max_num_tokens: Option<usize>,
    /// Write the checkpoint and no engine.
    pub checkpoint_only: bool,
    /// Write nothing, and tell what would be.
    pub dry_run: bool,
}

impl Options {
    /// Builds `model` for one GPU of `target` into `output`, everything else by default.
    pub fn new(model: impl Into<PathBuf>, target: &str, output: impl Into<PathBuf>) -> Self {
        Self {
            model: model.into(),
            output: output.into(),
            target: target.to_owned(),
            name: None,
            head: None,
            tensor_parallel: 1,
            pipeline_parallel: 1,
            quantization: Quantization::None,
            quantized: None,
            objective: Objective::Throughput,
            max_seq_len: None,
            max_batch_size: None,
            max_num_tokens: None,
            checkpoint_only: false,
            dry_run: false,
        }
    }
}

/// What came of it.
#[derive(Debug)]
pub enum Outcome {
    /// What would be done.
    Plan(String),
    /// A checkpoint for `trtllm-build`, of so many ranks.
    Checkpoint(usize),
    /// An engine.
    Engine(Box<Manifest>),
}

/// Builds what `options` ask for on `machine`.
///
/// # Errors
/// It cannot be built, written or run there, `trtllm-build` failed, or `progress` interrupted it. Nothing is
/// left at `options.output` then.
pub fn build(options: &Options, machine: &Machine, progress: &dyn Progress) -> Result<Outcome, BuildError> {
    let target = Target::find(&options.target)?;
    if target.kind != Kind::Gpu {
        return Err(BuildError::Option(format!("{} is no GPU", target.title)));
    }
    let device = match options.checkpoint_only || options.dry_run {
        true => target.devices.first().cloned().unwrap_or_default(),
        false => machine::device(machine, &target)?,
    };
    if options.model.join(DRAFT_FILE).is_file() {
        return engine::of_checkpoint(options, &target, &device, machine, progress);
    }
    of_model(options, &target, &device, machine, progress)
}

fn of_model(
    options: &Options,
    target: &Target,
    device: &str,
    machine: &Machine,
    progress: &dyn Progress,
) -> Result<Outcome, BuildError> {
    refuse_quantized(&options.model)?;
    let named =
        BuildOptions { name: options.name.clone(), ..BuildOptions::new(&options.model, &options.output) };
    let config = config::read(&options.model, name(&named)?)?;
    let mapping =
        Mapping { tensor_parallel: options.tensor_parallel, pipeline_parallel: options.pipeline_parallel };
    families::check_mapping(&config.model, mapping)?;
    families::check_model(&config.model, &options.quantization)?;
    let format = format(&options.quantization, target, &config, mapping)?;
    let limits = limits(options, &config)?;
    let text = text::read(&options.model, config.model.vocab_size, true)?;
    let checkpoint = Checkpoint::open(&options.model)?;
    let head = head::recognise(&config, &checkpoint, options.head.as_ref())?;
    families::check_head(&head, &config.model)?;
    let planned = plan::plan(&checkpoint, &config.model, plan::Ending::Scores(&head), Dtype::Bf16, false)?;

    let mut config_json = config_json::config_json(
        &config.model,
        config.max_position_embeddings,
        mapping,
        &options.quantization,
    )?;
    let mut quantization = options.quantization.clone();
    let prequantized = match &options.quantized {
        Some(_) if quantization != Quantization::None => {
            let reason = "--quantized says how the checkpoint is quantized already; leave --quantization out";
            return Err(BuildError::Option(reason.to_owned()));
        }
        Some(directory) => {
            let prequantized = Prequantized::open(directory, &config_json)?;
            prequantized.check(target)?;
            quantization = prequantized.quantization();
            config_json = prequantized.config().clone();
            Some(prequantized)
        }
        None => None,
    };

    let layout = Layout::new(&planned, &config.model, mapping, in_file(format, target));
    let in_memory = Layout::new(&planned, &config.model, mapping, format);
    let bytes = |layout: &Layout<'_, '_>, rank| match &prequantized {
        Some(prequantized) => prequantized.bytes(mapping::Rank::number(rank)),
        None => Ok(layout.rank(rank).iter().map(layout::RankTensor::bytes).sum()),
    };
    let mut ranks = Vec::new();
    let mut file_bytes = Vec::new();
    for rank in mapping.each() {
        let memory = Memory::of(&config.model, limits, mapping, rank, bytes(&in_memory, rank)?);
        memory.check(target, mapping, rank)?;
        ranks.push(memory);
        file_bytes.push(bytes(&layout, rank)?);
    }

    let recognised = head.describe(&config);
    let head_bias = head_bias(&planned)?;
    let gpus = Gpus {
        device: device.to_owned(),
        compute_capability: target.compute_capability.clone().unwrap_or_default(),
        tensor_parallel: mapping.tensor_parallel,
        pipeline_parallel: mapping.pipeline_parallel,
        quantization,
        objective: options.objective,
        driver: machine.driver.clone().unwrap_or_default(),
        head_bias,
        ..Gpus::default()
    };
    let gpus = EngineTarget::TensorrtLlm(gpus);
    let prompt = PromptSpec {
        suffix: config.suffix.clone(),
        generation_prompt: head.generation_prompt,
        ..text.prompt
    };
    let manifest_head = head.manifest(&config, &checkpoint, &text.encoder)?;
    let draft = Manifest {
        format: FORMAT,
        profile: Profile { id: String::new(), name: profile_name(&gpus, Dtype::Bf16) },
        model: config.model.clone(),
        task: Task::Reward,
        target: gpus,
        built_with: BuiltWith { assay: env!("CARGO_PKG_VERSION").to_owned(), onednn: String::new() },
        dtype: Dtype::Bf16,
        limits,
        head: manifest_head,
        prompt,
        files: [].into(),
    };
    let report =
        report::Report { draft: &draft, target, options, ranks: &ranks, files: &file_bytes, machine };
    if options.dry_run {
        Staging::check(&options.output)?;
        return Ok(Outcome::Plan(format!("{recognised}\n{report}")));
    }
    let engine_bytes = if options.checkpoint_only { 0 } else { ranks.iter().map(|rank| rank.weights).sum() };
    let program = if options.checkpoint_only { None } else { Some(command::find()?) };
    let staging = Staging::new(&options.output)?;
    staging.check_space(file_bytes.iter().sum::<u64>() + engine_bytes)?;
    progress.note(&recognised);
    for line in report.to_string().lines() {
        progress.note(line);
    }

    let folder = match &program {
        Some(_) => staging.folder(engine::WORK)?,
        None => staging.path().to_owned(),
    };
    write_file(&folder.join("config.json"), &pretty(&config_json))?;
    progress.begin(mapping.each().map(|rank| layout.rank(rank).len()).sum(), file_bytes.iter().sum());
    for rank in mapping.each() {
        let path = folder.join(format!("rank{}.safetensors", rank.number()));
        match &prequantized {
            Some(prequantized) => {
                let head = if rank.is_last_stage() { layout.lm_head(rank) } else { None };
                prequantized.write(rank.number(), &path, head.as_ref(), progress)?;
            }
            None => rank_file::write(&path, &layout.rank(rank), progress)?,
        }
    }
    for (file, content) in [(TOKENIZER_FILE, &text.tokenizer), (TEMPLATE_FILE, &text.template)] {
        staging.write(file, content.as_bytes())?;
    }
    match program {
        None => {
            let draft = serde_saphyr::to_string(&draft)
                .map_err(|error| BuildError::write(DRAFT_FILE)(std::io::Error::other(error.to_string())))?;
            staging.write(DRAFT_FILE, draft.as_bytes())?;
            staging.publish()?;
            Ok(Outcome::Checkpoint(mapping.ranks()))
        }
        Some(program) => engine::make(&program, draft, &folder, staging, progress),
    }
}

/// Checkpoints in other forms than the original.
fn refuse_quantized(model: &Path) -> Result<(), BuildError> {
    let hint = "give the original checkpoint as --model, and as --quantized the TensorRT-LLM checkpoint that modelopt \
                makes of it (quantize.py --output_dir, with the same --tp_size and --pp_size)";
    if model.join("hf_quant_config.json").is_file() {
        let reason = format!("it was quantized by modelopt and exported in Hugging Face's form; {hint}");
        return Err(BuildError::checkpoint(model, reason));
    }
    if model.join("rank0.safetensors").is_file() {
        let reason = format!("it is a TensorRT-LLM checkpoint without {DRAFT_FILE}; {hint}");
        return Err(BuildError::checkpoint(model, reason));
    }
    Ok(())
}

/// The format of layers' matrices, where they are quantized.
fn format(
    quantization: &Quantization,
    target: &Target,
    config: &Config,
    mapping: Mapping,
) -> Result<Option<Format>, BuildError> {
    let capability = target.compute_capability.as_deref().unwrap_or_default();
    let (format, multiple) = match quantization {
        Quantization::Fp8 => {
            target.rate(Precision::Fp8)?;
            (Format::Fp8, 16)
        }
        Quantization::Int8WeightOnly | Quantization::Int4WeightOnly => {
            let bits = if *quantization == Quantization::Int8WeightOnly { 8 } else { 4 };
            // Ampere and Ada read rows that lie in each other, Hopper rows one after the other.
            (Format::Integers(Integers { bits, interleaved: capability.starts_with("8.") }), TILE)
        }
        Quantization::None | Quantization::Checkpoint(_) => return Ok(None),
    };
    let model = &config.model;
    let tp = mapping.tensor_parallel;
    let kv_heads = if model.num_kv_heads < tp { 1 } else { model.num_kv_heads / tp };
    for (what, size) in [
        ("hidden_size", model.hidden_size / if multiple == TILE { tp } else { 1 }),
        ("intermediate_size", model.intermediate_size / tp),
        ("the queries' width", model.num_heads / tp * model.head_dim),
        ("the width of queries, keys and values", (model.num_heads / tp + 2 * kv_heads) * model.head_dim),
    ] {
        if !size.is_multiple_of(multiple) {
            return Err(BuildError::Option(format!(
                "--quantization {}: TensorRT-LLM's products in this format need multiples of {multiple} on every rank, and \
                 {what} is {size} there at --tp {tp}",
                option_name(quantization)
            )));
        }
    }
    Ok(Some(format))
}

/// What stands in the files: how integers lie for Blackwell is left to `trtllm-build`, which quantizes what
/// is not quantized yet.
fn in_file(format: Option<Format>, target: &Target) -> Option<Format> {
    let known = ["8.", "9."].iter().any(|major| {
        target.compute_capability.as_deref().is_some_and(|capability| capability.starts_with(major))
    });
    format.filter(|format| known || *format == Format::Fp8)
}

fn option_name(quantization: &Quantization) -> &str {
    match quantization {
        Quantization::None => "none",
        Quantization::Fp8 => "fp8",
        Quantization::Int8WeightOnly => "int8-weight-only",
        Quantization::Int4WeightOnly => "int4-weight-only",
        Quantization::Checkpoint(algorithm) => algorithm,
    }
}

/// Limits that were asked for, or what suits the objective.
fn limits(options: &Options, config: &Config) -> Result<BuildLimits, BuildError> {
    // TensorRT-LLM's table of rotations ends there.
    let mut longest = config.max_position_embeddings;
    let mut why = format!("its positions reach {longest}");
    // The Executor is told of no windows, so an engine must not go beyond one.
    if let Some(window) = &config.model.variant.sliding_window
        && window.keys < longest
    {
        longest = window.keys;
        why = format!("its layers' window is {longest}, and longer sequences would be computed without it");
    }
    let max_seq_len = options.max_seq_len.unwrap_or(longest.min(DEFAULT_MAX_SEQ_LEN));
    if max_seq_len > longest {
        let reason =
            format!("--max-seq-len {max_seq_len} is more than this model can be built for on GPUs: {why}");
        return Err(BuildError::Option(reason));
    }
    let (batch, tokens) = match options.objective {
        Objective::Throughput => (256, 8192),
        Objective::Latency => (32, 4096),
    };
    let limits = BuildLimits {
        max_seq_len,
        max_batch_size: options.max_batch_size.unwrap_or(batch),
        max_num_tokens: options.max_num_tokens.unwrap_or(tokens),
    };
    for (option, value) in [
        ("--max-seq-len", limits.max_seq_len),
        ("--max-batch-size", limits.max_batch_size),
        ("--max-num-tokens", limits.max_num_tokens),
    ] {
        if value == 0 {
            return Err(BuildError::Option(format!("{option} must be at least 1")));
        }
    }
    if limits.max_num_tokens < limits.max_batch_size {
        let reason = format!(
            "--max-num-tokens {} is less than --max-batch-size {}: each sequence needs a token in an iteration",
            limits.max_num_tokens, limits.max_batch_size
        );
        return Err(BuildError::Option(reason));
    }
    Ok(limits)
}

/// The head's bias, row by row.
fn head_bias(planned: &[Planned<'_>]) -> Result<Vec<f32>, BuildError> {
    let Some(bias) = planned.iter().find(|planned| planned.name == "head_bias") else { return Ok(vec![]) };
    let minus = match &bias.minus {
        Some(minus) => convert::values(minus)?.first().copied().unwrap_or(0.0),
        None => 0.0,
    };
    let mut values = Vec::new();
    for source in &bias.sources {
        values.extend(convert::values(source)?.iter().map(|value| value - minus));
    }
    Ok(values)
}

fn pretty(value: &serde_json::Value) -> String {
    format!("{value:#}\n")
}

fn write_file(path: &Path, content: &str) -> Result<(), BuildError> {
    std::fs::write(path, content).map_err(BuildError::write(path))
}
