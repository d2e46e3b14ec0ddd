//! Writes the checkpoint for `trtllm-build` from a model's own.

use std::path::Path;

use serde_json::Value;

use super::check::{self, Family};
use super::config_json::config_json;
use super::fit::Memory;
use super::format::{format, in_file};
use super::limits::limits;
use super::lm_head::LmHead;
use super::mapping::{Mapping, Rank};
use super::prequantized::Prequantized;
use super::rank_tensor::RankTensor;
use super::rank_tensors::RankPlanner;
use super::report::Report;
use super::{Context, DRAFT_FILE, Outcome, engine, process, rank_file};
use crate::builder::output::Staging;
use crate::builder::plan::TensorPlan;
use crate::builder::source::Source;
use crate::builder::{BuildError, Progress, Silent, engine_manifest, weights};
use crate::manifest::{
    BuildLimits, Dtype, GpuTarget, HEAD_FILE, Manifest, ManifestHead, Quantization, Target, Task,
};

/// Builds the engine, or only the checkpoint, of a model.
pub(super) fn build(context: &Context<'_>, progress: &dyn Progress) -> Result<Outcome, BuildError> {
    let options = context.options;
    refuse_other_forms(&options.common.model)?;
    let source = Source::open(&options.common)?;
    let family = check(context, &source)?;
    let tensors = source.plan(Dtype::Bf16, false)?;
    let plan = CheckpointPlan::new(context, family, &source, &tensors.weights)?;
    if options.gpu.dry_run {
        Staging::check(&options.common.output)?;
        return Ok(Outcome::Plan(format!("{}\n{}", source.describe(), plan.report(context))));
    }
    let program = if options.gpu.checkpoint_only { None } else { Some(process::find()?) };
    let staging = Staging::new(&options.common.output)?;
    staging.check_space(plan.space(program.is_some()))?;
    progress.note(&source.describe());
    for line in plan.report(context).to_string().lines() {
        progress.note(line);
    }
    for (file, content) in source.text.files() {
        staging.write(file, content.as_bytes())?;
    }
    if !tensors.head.is_empty() {
        weights::write(&staging.join(HEAD_FILE), &tensors.head, &Silent)?;
    }
    match program {
        None => {
            plan.write(staging.path(), progress)?;
            plan.publish(staging)
        }
        Some(program) => {
            let folder = staging.folder(engine::WORK)?;
            plan.write(&folder, progress)?;
            engine::run_build(&program, family, plan.draft, &folder, staging, progress)
        }
    }
}

/// Refuses what TensorRT-LLM cannot do, and ranks that cannot divide the model.
fn check(context: &Context<'_>, source: &Source) -> Result<Family, BuildError> {
    let (model, options) = (&source.config.model, context.options);
    let family = check::family(model)?;
    check::check_head_size(model)?;
    check::check_mapping(family, model, options.mapping())?;
    // The layers of --quantized come with an embedding, and a small head's logits are not the vocabulary's.
    if source.task != Task::Reward || options.gpu.quantized.is_some() {
        check::check_vocabulary(model, options.mapping())?;
    }
    check::check_nodes(options.gpu.gpus_per_node, options.mapping())?;
    let positions = source.config.max_position_embeddings;
    check::check_model(family, model, positions, &options.gpu.quantization)?;
    if options.gpu.small_head && options.gpu.quantized.is_some() {
        let reason = "--small-head writes the layers for another TensorRT-LLM model than that of --quantized; leave one out";
        return Err(BuildError::Option(reason.to_owned()));
    }
    Ok(family)
}

/// Everything that will be written, known before the first byte.
struct CheckpointPlan<'p, 'a> {
    family: Family,
    mapping: Mapping,
    config_json: Value,
    tensors: RankPlanner<'p, 'a>,
    /// The checkpoint to take layers from; `None` for the model's own.
    prequantized: Option<Prequantized>,
    /// Size of each rank's file.
    files: Vec<u64>,
    /// Memory of each rank.
    ranks: Vec<Memory>,
    draft: Manifest,
}

impl<'p, 'a> CheckpointPlan<'p, 'a> {
    /// # Errors
    /// An option does not fit the model, or a rank does not fit its GPU.
    fn new(
        context: &Context<'_>,
        family: Family,
        source: &'p Source,
        plans: &'p [TensorPlan<'a>],
    ) -> Result<Self, BuildError> {
        let (options, target, mapping) = (context.options, context.target, context.options.mapping());
        let model = &source.config.model;
        let format = format(&options.gpu.quantization, target, model, mapping)?;
        let limits = limits(options, &source.config, source.task)?;
        let head = source.head()?;
        let lm_head = LmHead::new(source, family, &head, mapping, options.gpu.small_head)?;
        let own_json = config_json(source, family, &lm_head, mapping, &options.gpu.quantization)?;
        let prequantized = prequantized(context, family, &own_json)?;
        let quantization = match &prequantized {
            Some(prequantized) => prequantized.quantization(),
            None => options.gpu.quantization.clone(),
        };
        let gpus = GpuTarget {
            quantization,
            lm_head_rows: lm_head.small.then_some(lm_head.rows),
            ..GpuTarget::default()
        };
        let planner = |format| RankPlanner::new(plans, &lm_head, model, family.trtllm, mapping, format);
        let mut plan = Self {
            family,
            mapping,
            config_json: prequantized.as_ref().map_or(own_json, |prequantized| prequantized.config().clone()),
            tensors: planner(in_file(format, target)),
            prequantized,
            files: Vec::new(),
            ranks: Vec::new(),
            draft: draft(context, source, gpus, head, limits),
        };
        let in_memory = planner(format);
        for rank in mapping.each_rank() {
            let memory = Memory::estimate(&plan.draft, mapping, rank, plan.bytes(&in_memory, rank)?);
            memory.check(target, mapping, rank)?;
            plan.ranks.push(memory);
            plan.files.push(plan.bytes(&plan.tensors, rank)?);
        }
        Ok(plan)
    }

    /// Size of a rank's tensors as `planner` writes them.
    fn bytes(&self, planner: &RankPlanner<'_, '_>, rank: Rank) -> Result<u64, BuildError> {
        match &self.prequantized {
            Some(prequantized) => prequantized.bytes(rank.number()),
            None => Ok(planner.rank(rank).iter().map(RankTensor::bytes).sum()),
        }
    }

    /// Bytes that the output needs on the disk, with or without an engine.
    fn space(&self, with_engine: bool) -> u64 {
        let checkpoint: u64 = self.files.iter().sum();
        let engine: u64 = self.ranks.iter().map(|rank| rank.weights).sum();
        checkpoint + if with_engine { engine } else { 0 }
    }

    fn report<'r>(&'r self, context: &'r Context<'r>) -> Report<'r> {
        Report { context, family: self.family, draft: &self.draft, ranks: &self.ranks, files: &self.files }
    }

    /// Writes the checkpoint for `trtllm-build` into a folder.
    fn write(&self, folder: &Path, progress: &dyn Progress) -> Result<(), BuildError> {
        let path = folder.join("config.json");
        std::fs::write(&path, format!("{:#}\n", self.config_json)).map_err(BuildError::write(&path))?;
        let tensors = self.mapping.each_rank().map(|rank| self.tensors.rank(rank).len()).sum();
        progress.start(tensors, self.files.iter().sum());
        for rank in self.mapping.each_rank() {
            let path = folder.join(format!("rank{}.safetensors", rank.number()));
            match &self.prequantized {
                Some(prequantized) => {
                    let head = if rank.is_last_stage() { self.tensors.lm_head(rank) } else { None };
                    prequantized.write(rank.number(), &path, head.as_ref(), progress)?;
                }
                None => rank_file::write(&path, &self.tensors.rank(rank), progress)?,
            }
        }
        Ok(())
    }

    /// Publishes the checkpoint in `staging` as the result.
    fn publish(&self, staging: Staging) -> Result<Outcome, BuildError> {
        let draft = serde_saphyr::to_string(&self.draft)
            .map_err(|error| BuildError::write(DRAFT_FILE)(std::io::Error::other(error.to_string())))?;
        staging.write(DRAFT_FILE, draft.as_bytes())?;
        staging.publish()?;
        Ok(Outcome::Checkpoint(self.mapping.ranks()))
    }
}

/// The engine's manifest without versions, profile id and files. `gpus` comes with what the checkpoint decides.
fn draft(
    context: &Context<'_>,
    source: &Source,
    gpus: GpuTarget,
    head: ManifestHead,
    limits: BuildLimits,
) -> Manifest {
    let mapping = context.options.mapping();
    let target = Target::TensorrtLlm(GpuTarget {
        device: context.device.clone(),
        compute_capability: context.target.compute_capability.clone().unwrap_or_default(),
        tensor_parallel: mapping.tensor_parallel,
        pipeline_parallel: mapping.pipeline_parallel,
        gpus_per_node: context.options.gpus_per_node(),
        objective: context.options.gpu.objective.unwrap_or_default(),
        driver: context.machine.driver.clone().unwrap_or_default(),
        ..gpus
    });
    engine_manifest::draft(source, target, Dtype::Bf16, limits, head)
}

/// The checkpoint to take layers from, if the options name one.
fn prequantized(
    context: &Context<'_>,
    family: Family,
    own_json: &Value,
) -> Result<Option<Prequantized>, BuildError> {
    let Some(directory) = &context.options.gpu.quantized else { return Ok(None) };
    if context.options.gpu.quantization != Quantization::None {
        let reason = "the checkpoint of --quantized is quantized already; leave --quantization out";
        return Err(BuildError::Option(reason.to_owned()));
    }
    let prequantized = Prequantized::open(directory, family.trtllm, own_json)?;
    prequantized.check(context.target)?;
    Ok(Some(prequantized))
}

/// Refuses checkpoints in other forms than the original.
fn refuse_other_forms(model: &Path) -> Result<(), BuildError> {
    let hint = "give the original checkpoint as --model, and as --quantized the TensorRT-LLM checkpoint that modelopt \
                makes from it (quantize.py --output_dir, with the same --tp_size and --pp_size)";
    if model.join("hf_quant_config.json").is_file() {
        let reason = format!("modelopt quantized it and exported it in Hugging Face's format; {hint}");
        return Err(BuildError::checkpoint(model, reason));
    }
    if model.join("rank0.safetensors").is_file() {
        let reason = format!("it is a TensorRT-LLM checkpoint without {DRAFT_FILE}; {hint}");
        return Err(BuildError::checkpoint(model, reason));
    }
    Ok(())
}
