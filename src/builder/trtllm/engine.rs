//! Builds an engine from a checkpoint for `trtllm-build`, and writes its manifest.

use std::path::Path;

use indicatif::HumanBytes;
use serde_json::{Map, Value};

use super::check::{self, Family};
use super::command::BuildCommand;
use super::fit::Memory;
use super::format::option_name;
use super::process;
use super::report::Report;
use super::{Context, DRAFT_FILE, Mapping, Outcome, TrtllmBuildOptions, limits};
use crate::builder::error::TRTLLM_BUILD;
use crate::builder::json::{Object, read_plain, unreadable};
use crate::builder::output::Staging;
use crate::builder::{BuildError, Progress, engine_manifest};
use crate::engine::backends;
use crate::hardware::targets::HardwareTarget;
use crate::manifest::digest::digest_file;
use crate::manifest::{GpuTarget, Manifest, Quantization, TRTLLM_CONFIG_FILE, Target, rank_file};

/// Folder within the output for the checkpoint and for files that `trtllm-build` leaves where it runs. It is removed before
/// the output is published.
pub(super) const WORK: &str = "work";
/// The version of TensorRT in the manifest if Python does not report it.
const UNKNOWN: &str = "unknown";

/// Builds the engine of a checkpoint that was written earlier.
pub(super) fn build_from_checkpoint(
    context: &Context<'_>,
    progress: &dyn Progress,
) -> Result<Outcome, BuildError> {
    let Context { options, target, machine, device } = context;
    let model = &options.common.model;
    let mut draft = read_draft(options, target)?;
    let family = check::family(&draft.model)?;
    check::check_head_size(&draft.model)?;
    let gpus = gpus(&mut draft, &model.join(DRAFT_FILE))?;
    gpus.device.clone_from(device);
    gpus.driver = machine.driver.clone().unwrap_or_default();
    gpus.objective = options.gpu.objective.unwrap_or(gpus.objective);
    let mapping = Mapping::from_gpus(gpus);
    if options.gpu.gpus_per_node.is_some() {
        check::check_nodes(options.gpu.gpus_per_node, mapping)?;
        gpus.gpus_per_node = options.gpus_per_node();
    }
    draft.profile.name = backends::profile_name(&draft);
    if let Some(name) = &options.common.name {
        draft.model.name = name.clone();
    }
    let (mut ranks, mut files) = (Vec::new(), Vec::new());
    for rank in mapping.each_rank() {
        let path = model.join(format!("rank{}.safetensors", rank.number()));
        let bytes = std::fs::metadata(&path).map_err(|error| unreadable(&path, &error))?.len();
        let memory = Memory::estimate(&draft, mapping, rank, bytes);
        memory.check(target, mapping, rank)?;
        ranks.push(memory);
        files.push(bytes);
    }
    let report = Report { context, family, draft: &draft, ranks: &ranks, files: &files };
    if options.gpu.dry_run {
        Staging::check(&options.common.output)?;
        return Ok(Outcome::Plan(report.to_string()));
    }
    let program = process::find()?;
    let staging = Staging::new(&options.common.output)?;
    staging.check_space(files.iter().sum())?;
    for line in report.to_string().lines() {
        progress.note(line);
    }
    staging.folder(WORK)?;
    for file in draft.companions() {
        let path = model.join(file);
        staging.write(file, &std::fs::read(&path).map_err(|error| unreadable(&path, &error))?)?;
    }
    let checkpoint = std::path::absolute(model).map_err(|error| unreadable(model, &error))?;
    run_build(&program, family, draft, &checkpoint, staging, progress)
}

/// The GPUs that a manifest, read from `path`, is for.
fn gpus<'m>(manifest: &'m mut Manifest, path: &Path) -> Result<&'m mut GpuTarget, BuildError> {
    match &mut manifest.target {
        Target::TensorrtLlm(gpus) => Ok(gpus),
        Target::Cpu { .. } => Err(BuildError::checkpoint(path, "it is not for GPUs")),
    }
}

/// The manifest that the checkpoint was written with.
///
/// # Errors
/// It is malformed, or the options contradict it.
fn read_draft(options: &TrtllmBuildOptions, target: &HardwareTarget) -> Result<Manifest, BuildError> {
    let path = options.common.model.join(DRAFT_FILE);
    let text = read_plain(&path).map_err(|error| unreadable(&path, &error))?;
    let mut draft = Manifest::parse(&text)
        .map_err(|reason| BuildError::checkpoint(&path, format!("{reason}; write it again")))?;
    let task = draft.task;
    if let Some(reason) = contradiction(options, target, gpus(&mut draft, &path)?) {
        return Err(BuildError::checkpoint(&path, reason));
    }
    if let Some(requested) = options.common.checkpoint.task
        && requested != task
    {
        let reason = format!("it was written for --task {task}, not {requested}; leave --task out");
        return Err(BuildError::checkpoint(&path, reason));
    }
    let limits = &mut draft.limits;
    if options.common.max_seq_len.is_some_and(|length| length > limits.max_seq_len) {
        let reason = format!("it was written for sequences of {} tokens", limits.max_seq_len);
        return Err(BuildError::checkpoint(&path, reason));
    }
    limits.max_seq_len = options.common.max_seq_len.unwrap_or(limits.max_seq_len);
    limits.max_batch_size = options.common.max_batch_size.unwrap_or(limits.max_batch_size);
    limits.max_num_tokens = options.common.max_num_tokens.unwrap_or(limits.max_num_tokens);
    limits::check(limits)?;
    Ok(draft)
}

/// Why the options do not go with a checkpoint that was written for these GPUs.
fn contradiction(options: &TrtllmBuildOptions, target: &HardwareTarget, gpus: &GpuTarget) -> Option<String> {
    let capability = target.compute_capability.as_deref().unwrap_or_default();
    if gpus.compute_capability != capability {
        return Some(format!(
            "it was written for GPUs of compute capability {}, and {} has {capability}; write it again for --target {}",
            gpus.compute_capability, target.title, target.name
        ));
    }
    for (option, requested, written) in [
        ("--tp", options.gpu.tensor_parallel, gpus.tensor_parallel),
        ("--pp", options.gpu.pipeline_parallel, gpus.pipeline_parallel),
    ] {
        if requested != 1 && requested != written {
            return Some(format!(
                "it was written with {option} {written}, not {requested}; leave {option} out"
            ));
        }
    }
    if options.gpu.quantization != Quantization::None && options.gpu.quantization != gpus.quantization {
        let written = option_name(&gpus.quantization);
        return Some(format!("it was written with --quantization {written}; leave the option out"));
    }
    let fixed =
        options.gpu.quantized.is_some() || options.common.checkpoint.head.is_some() || options.gpu.small_head;
    if options.gpu.checkpoint_only || fixed {
        return Some(
            "it is a checkpoint for trtllm-build already; leave --checkpoint-only, --quantized, --head and --small-head \
             out"
            .to_owned(),
        );
    }
    None
}

/// Runs `trtllm-build` on `checkpoint`, completes the manifest and publishes the engine. `staging` already holds all
/// files except the plans.
pub(super) fn run_build(
    program: &Path,
    family: Family,
    mut manifest: Manifest,
    checkpoint: &Path,
    staging: Staging,
    progress: &dyn Progress,
) -> Result<Outcome, BuildError> {
    let limits = manifest.limits;
    let gpus = gpus(&mut manifest, checkpoint)?;
    let command = BuildCommand::new(family.trtllm, gpus, limits);
    let work = staging.join(WORK);
    process::run(program, &command.arguments(checkpoint, staging.path()), &work, progress)?;

    let config = Object::read(&staging.join(TRTLLM_CONFIG_FILE))?;
    gpus.tensorrt_llm = config.required("version")?;
    process::check_version(&gpus.tensorrt_llm)?;
    // The engine does not name its version of TensorRT.
    let tensorrt = process::python(program, "import tensorrt; print(tensorrt.__version__)");
    gpus.tensorrt = tensorrt.unwrap_or_else(|| UNKNOWN.to_owned());
    complete_config(&staging, gpus)?;
    let plans: Vec<String> = (0..gpus.ranks()).map(rank_file).collect();
    let build = config.nested("build_config")?;
    let limits = &mut manifest.limits;
    // `trtllm-build` may lower limits.
    for (field, limit, more) in [
        ("max_batch_size", &mut limits.max_batch_size, 0),
        ("max_num_tokens", &mut limits.max_num_tokens, 0),
        ("max_seq_len", &mut limits.max_seq_len, 1),
    ] {
        let built: usize = build.required(field)?;
        if built < *limit + more {
            *limit = built.saturating_sub(more);
            progress.note(&format!("{TRTLLM_BUILD} lowered {field} to {built}"));
        }
    }
    std::fs::remove_dir_all(&work).map_err(BuildError::write(&work))?;
    let companions = manifest.companions();
    for name in plans.iter().map(String::as_str).chain([TRTLLM_CONFIG_FILE]).chain(companions) {
        let path = staging.join(name);
        let found = digest_file(&path).map_err(|error| {
            BuildError::checkpoint(&path, format!("{TRTLLM_BUILD} succeeded but did not write it ({error})"))
        })?;
        progress.note(&format!("{name}: {}, SHA-256 {}", HumanBytes(found.bytes), found.sha256));
        manifest.files.insert(name.to_owned(), found);
    }
    engine_manifest::write(&staging, &mut manifest)?;
    staging.publish()?;
    Ok(Outcome::Engine(Box::new(manifest)))
}

/// Writes into the engine's configuration what the runtime takes from there and `trtllm-build` does not know:
///
/// - the width of logits if it is not the vocabulary's size. `trtllm-build` takes `vocab_size` from the embedding
///   (NVIDIA/TensorRT-LLM issue 3698).
/// - the GPUs of every node. `GptJsonConfig::parse` takes 8 if `mapping` does not say, and `WorldConfig::mpi` then
///   refuses several nodes that have fewer.
fn complete_config(staging: &Staging, gpus: &GpuTarget) -> Result<(), BuildError> {
    if gpus.lm_head_rows.is_none() && gpus.gpus_per_node.is_none() {
        return Ok(());
    }
    let path = staging.join(TRTLLM_CONFIG_FILE);
    let object = Object::read(&path)?;
    let mut config: Map<String, Value> =
        object.fields().map(|(name, value)| (name.to_owned(), value.clone())).collect();
    let Some(Value::Object(model)) = config.get_mut("pretrained_config") else {
        return Err(object.error("pretrained_config", "it is missing, so the runtime's sizes cannot be set"));
    };
    if let Some(rows) = gpus.lm_head_rows {
        model.insert("vocab_size".to_owned(), rows.into());
    }
    if let Some(count) = gpus.gpus_per_node {
        let Some(Value::Object(mapping)) = model.get_mut("mapping") else {
            return Err(
                object.error("pretrained_config.mapping", "it is missing, so the nodes cannot be set")
            );
        };
        mapping.insert("gpus_per_node".to_owned(), count.into());
    }
    staging.write(TRTLLM_CONFIG_FILE, format!("{:#}\n", Value::Object(config)).as_bytes())
}
