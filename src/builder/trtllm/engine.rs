//! From a checkpoint to an engine: runs `trtllm-build` and writes the manifest beside what it made.

use std::path::Path;

use indicatif::HumanBytes;
use serde_json::{Map, Value};

use super::command::{self, PROGRAM, Recipe};
use super::fit::Memory;
use super::format::option_name;
use super::limits::checked;
use super::report::Report;
use super::{DRAFT_FILE, Mapping, Options, Order, Outcome};
use crate::builder::json::{Object, unreadable};
use crate::builder::output::Staging;
use crate::builder::{BuildError, Progress, write_manifest};
use crate::hardware::profile_name;
use crate::hardware::targets::Target;
use crate::manifest::verify::digest_file;
use crate::manifest::{Manifest, Quantization, TRTLLM_CONFIG_FILE, Target as EngineTarget, rank_file};

/// Folder within the output that is gone when it is published: the checkpoint, and what else
/// `trtllm-build` leaves where it runs.
pub(super) const WORK: &str = "work";
/// What the engine's manifest says of TensorRT where Python does not tell.
const UNKNOWN: &str = "unknown";

/// Builds the engine of a checkpoint that was written before.
pub(super) fn of_checkpoint(order: &Order<'_>, progress: &dyn Progress) -> Result<Outcome, BuildError> {
    let Order { options, target, machine, device } = order;
    let mut draft = read_draft(options, target)?;
    let EngineTarget::TensorrtLlm(gpus) = &mut draft.target else {
        return Err(BuildError::checkpoint(options.model.join(DRAFT_FILE), "it is of no GPU"));
    };
    gpus.device.clone_from(device);
    gpus.driver = machine.driver.clone().unwrap_or_default();
    gpus.objective = options.objective.unwrap_or(gpus.objective);
    let mapping =
        Mapping { tensor_parallel: gpus.tensor_parallel, pipeline_parallel: gpus.pipeline_parallel };
    draft.profile.name = profile_name(&draft.target, draft.dtype);
    if let Some(name) = &options.name {
        draft.model.name = name.clone();
    }
    let (mut ranks, mut files) = (Vec::new(), Vec::new());
    for rank in mapping.each() {
        let path = options.model.join(format!("rank{}.safetensors", rank.number()));
        let bytes = std::fs::metadata(&path).map_err(|error| unreadable(&path, &error))?.len();
        let memory = Memory::of(&draft, mapping, rank, bytes);
        memory.check(target, mapping, rank)?;
        ranks.push(memory);
        files.push(bytes);
    }
    let report = Report { order, draft: &draft, ranks: &ranks, files: &files };
    if options.dry_run {
        Staging::check(&options.output)?;
        return Ok(Outcome::Plan(report.to_string()));
    }
    let program = command::find()?;
    let staging = Staging::new(&options.output)?;
    staging.check_space(files.iter().sum())?;
    for line in report.to_string().lines() {
        progress.note(line);
    }
    staging.folder(WORK)?;
    for file in draft.companions() {
        let path = options.model.join(file);
        staging.write(file, &std::fs::read(&path).map_err(|error| unreadable(&path, &error))?)?;
    }
    let checkpoint =
        std::path::absolute(&options.model).map_err(|error| unreadable(&options.model, &error))?;
    make(&program, draft, &checkpoint, staging, progress)
}

/// The manifest that the checkpoint was written with.
///
/// # Errors
/// It is malformed, or the options ask for something else.
fn read_draft(options: &Options, target: &Target) -> Result<Manifest, BuildError> {
    let path = options.model.join(DRAFT_FILE);
    let text = std::fs::read_to_string(&path).map_err(|error| unreadable(&path, &error))?;
    let mut draft = Manifest::parse(&text)
        .map_err(|reason| BuildError::checkpoint(&path, format!("{reason}; write it again")))?;
    let refuse = |reason: String| Err(BuildError::checkpoint(&path, reason));
    let EngineTarget::TensorrtLlm(gpus) = &draft.target else { return refuse("it is of no GPU".to_owned()) };
    let capability = target.compute_capability.clone().unwrap_or_default();
    if gpus.compute_capability != capability {
        return refuse(format!(
            "it was written for GPUs of compute capability {}, and {} has {capability}; write it again for --target {}",
            gpus.compute_capability, target.title, target.name
        ));
    }
    for (option, asked, written) in [
        ("--tp", options.tensor_parallel, gpus.tensor_parallel),
        ("--pp", options.pipeline_parallel, gpus.pipeline_parallel),
    ] {
        if asked != 1 && asked != written {
            return refuse(format!(
                "it was written with {option} {written}, not {asked}; leave {option} out"
            ));
        }
    }
    if let Some(task) = options.task
        && task != draft.task
    {
        return refuse(format!("it was written for --task {}, not {task}; leave --task out", draft.task));
    }
    if options.quantization != Quantization::None && options.quantization != gpus.quantization {
        let written = option_name(&gpus.quantization);
        return refuse(format!("it was written with --quantization {written}; leave the option out"));
    }
    let decided = options.quantized.is_some() || options.head.is_some() || options.small_head;
    if options.checkpoint_only || decided {
        let reason = "it is a checkpoint already; --checkpoint-only, --quantized, --head and --small-head are of no \
                      use here";
        return refuse(reason.to_owned());
    }
    let limits = &mut draft.limits;
    if options.max_seq_len.is_some_and(|length| length > limits.max_seq_len) {
        return refuse(format!("it was written for sequences of {} tokens", limits.max_seq_len));
    }
    limits.max_seq_len = options.max_seq_len.unwrap_or(limits.max_seq_len);
    limits.max_batch_size = options.max_batch_size.unwrap_or(limits.max_batch_size);
    limits.max_num_tokens = options.max_num_tokens.unwrap_or(limits.max_num_tokens);
    checked(*limits)?;
    Ok(draft)
}

/// Runs `trtllm-build` on `checkpoint`, completes the manifest and publishes the engine. `staging` holds
/// what stands beside the plans already.
pub(super) fn make(
    program: &Path,
    mut manifest: Manifest,
    checkpoint: &Path,
    staging: Staging,
    progress: &dyn Progress,
) -> Result<Outcome, BuildError> {
    let EngineTarget::TensorrtLlm(gpus) = &mut manifest.target else {
        return Err(BuildError::checkpoint(checkpoint, "it is of no GPU"));
    };
    let recipe = Recipe {
        family: manifest.model.family,
        limits: manifest.limits,
        mapping: Mapping { tensor_parallel: gpus.tensor_parallel, pipeline_parallel: gpus.pipeline_parallel },
        quantization: &gpus.quantization,
        objective: gpus.objective,
        small_head: gpus.lm_head_rows.is_some(),
    };
    let arguments = recipe.arguments(checkpoint, staging.path());
    let work = staging.join(WORK);
    command::run(program, &arguments, &work, progress)?;

    let config = Object::read(&staging.join(TRTLLM_CONFIG_FILE))?;
    gpus.tensorrt_llm = config.required("version")?;
    command::check_version(&gpus.tensorrt_llm)?;
    // The engine does not say.
    let tensorrt = command::python(program, "import tensorrt; print(tensorrt.__version__)");
    gpus.tensorrt = tensorrt.unwrap_or_else(|| UNKNOWN.to_owned());
    if let Some(rows) = gpus.lm_head_rows {
        size_logits(&staging, rows)?;
    }
    let build = config.nested("build_config")?;
    let limits = &mut manifest.limits;
    // It may lower what it was asked for.
    for (field, limit, more) in [
        ("max_batch_size", &mut limits.max_batch_size, 0),
        ("max_num_tokens", &mut limits.max_num_tokens, 0),
        ("max_seq_len", &mut limits.max_seq_len, 1),
    ] {
        let built: usize = build.required(field)?;
        if built < *limit + more {
            *limit = built.saturating_sub(more);
            progress.note(&format!("{PROGRAM} lowered {field} to {built}"));
        }
    }
    let plans: Vec<String> = (0..gpus.ranks()).map(rank_file).collect();
    std::fs::remove_dir_all(&work).map_err(BuildError::write(&work))?;
    let companions = manifest.companions();
    for name in plans.iter().map(String::as_str).chain([TRTLLM_CONFIG_FILE]).chain(companions) {
        let path = staging.join(name);
        let found = digest_file(&path).map_err(|error| {
            BuildError::checkpoint(&path, format!("{PROGRAM} ended well and did not write it ({error})"))
        })?;
        progress.note(&format!("{name}: {}, SHA-256 {}", HumanBytes(found.bytes), found.sha256));
        manifest.files.insert(name.to_owned(), found);
    }
    write_manifest(&staging, &mut manifest)?;
    staging.publish()?;
    Ok(Outcome::Engine(Box::new(manifest)))
}

/// Tells the runtime how wide logits are where that is not the vocabulary: it goes by the engine's `vocab_size`,
/// which `trtllm-build` takes from the embedding (NVIDIA/TensorRT-LLM issue 3698).
fn size_logits(staging: &Staging, rows: usize) -> Result<(), BuildError> {
    let path = staging.join(TRTLLM_CONFIG_FILE);
    let object = Object::read(&path)?;
    let mut config: Map<String, Value> =
        object.fields().map(|(name, value)| (name.to_owned(), value.clone())).collect();
    let Some(Value::Object(model)) = config.get_mut("pretrained_config") else {
        return Err(object.error("pretrained_config", "it is missing, and the width of logits is told there"));
    };
    model.insert("vocab_size".to_owned(), rows.into());
    staging.write(TRTLLM_CONFIG_FILE, format!("{:#}\n", Value::Object(config)).as_bytes())
}
