//! From a model's checkpoint to one for `trtllm-build`, and on to the engine.

use std::path::Path;

use serde_json::Value;

use super::config_json::config_json;
use super::draft::draft;
use super::fit::Memory;
use super::format::{format, in_file};
use super::head::LmHead;
use super::layout::{Layout, RankTensor};
use super::limits::limits;
use super::mapping::{Mapping, Rank};
use super::prequantized::Prequantized;
use super::report::Report;
use super::{DRAFT_FILE, Order, Outcome, command, engine, families, rank_file};
use crate::builder::output::Staging;
use crate::builder::plan::Tensors;
use crate::builder::source::{Source, Wish};
use crate::builder::{BuildError, Progress, Silent, weights};
use crate::manifest::{Dtype, HEAD_FILE, Manifest, Quantization};

/// Builds what is asked for of a model's own checkpoint.
pub(super) fn build(order: &Order<'_>, progress: &dyn Progress) -> Result<Outcome, BuildError> {
    let options = order.options;
    refuse_quantized(&options.model)?;
    let source = Source::open(Wish {
        model: &options.model,
        name: options.name.as_deref(),
        task: options.task,
        head: options.head.as_ref(),
    })?;
    check(order, &source)?;
    let tensors = source.plan(Dtype::Bf16, false)?;
    let plan = Plan::new(order, &source, &tensors)?;
    if options.dry_run {
        Staging::check(&options.output)?;
        return Ok(Outcome::Plan(format!("{}\n{}", source.describe(), plan.report(order))));
    }
    let program = if options.checkpoint_only { None } else { Some(command::find()?) };
    let staging = Staging::new(&options.output)?;
    staging.check_space(plan.space(program.is_some()))?;
    progress.note(&source.describe());
    for line in plan.report(order).to_string().lines() {
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
            engine::make(&program, plan.draft, &folder, staging, progress)
        }
    }
}

/// Refuses what TensorRT-LLM cannot do, and ranks that cannot divide the model.
fn check(order: &Order<'_>, source: &Source) -> Result<(), BuildError> {
    let (model, options) = (&source.config.model, order.options);
    families::check_mapping(model, order.mapping())?;
    families::check_model(model, &options.quantization)?;
    if options.small_head && options.quantized.is_some() {
        let reason =
            "--small-head makes another model of the layers than --quantized has them of; leave one out";
        return Err(BuildError::Option(reason.to_owned()));
    }
    Ok(())
}

/// What is written, all of it known before the first byte.
struct Plan<'p, 'a> {
    mapping: Mapping,
    config_json: Value,
    layout: Layout<'p, 'a>,
    /// Whose layers are taken, if not the model's own.
    prequantized: Option<Prequantized>,
    /// Bytes of each rank's file.
    files: Vec<u64>,
    /// Memory of each rank.
    ranks: Vec<Memory>,
    draft: Manifest,
}

impl<'p, 'a> Plan<'p, 'a> {
    /// # Errors
    /// An option does not fit the model, or a rank not its GPU.
    fn new(order: &Order<'_>, source: &'p Source, tensors: &'p Tensors<'a>) -> Result<Self, BuildError> {
        let (options, target, mapping) = (order.options, order.target, order.mapping());
        let (config, planned) = (&source.config, &tensors.weights[..]);
        let format = format(&options.quantization, target, &config.model, mapping)?;
        let limits = limits(options, config)?;
        let head = source.head()?;
        let lm_head = LmHead::of(source, &head, mapping, options.small_head)?;
        let own_json = config_json(source, &lm_head, mapping, &options.quantization)?;
        let prequantized = prequantized(order, &own_json)?;
        let quantization = match &prequantized {
            Some(taken) => taken.quantization(),
            None => options.quantization.clone(),
        };
        let mut plan = Self {
            mapping,
            config_json: prequantized.as_ref().map_or(own_json, |taken| taken.config().clone()),
            layout: Layout::new(planned, &lm_head, &config.model, mapping, in_file(format, target)),
            prequantized,
            files: Vec::new(),
            ranks: Vec::new(),
            draft: draft(order, source, (head, &lm_head), limits, quantization),
        };
        let in_memory = Layout::new(planned, &lm_head, &config.model, mapping, format);
        for rank in mapping.each() {
            let memory = Memory::of(&plan.draft, mapping, rank, plan.bytes(&in_memory, rank)?);
            memory.check(target, mapping, rank)?;
            plan.ranks.push(memory);
            plan.files.push(plan.bytes(&plan.layout, rank)?);
        }
        Ok(plan)
    }

    /// Bytes of a rank's tensors as `layout` has them.
    fn bytes(&self, layout: &Layout<'_, '_>, rank: Rank) -> Result<u64, BuildError> {
        match &self.prequantized {
            Some(prequantized) => prequantized.bytes(rank.number()),
            None => Ok(layout.rank(rank).iter().map(RankTensor::bytes).sum()),
        }
    }

    /// Bytes that the output needs on the disk, with an engine or without.
    fn space(&self, with_engine: bool) -> u64 {
        let checkpoint: u64 = self.files.iter().sum();
        let engine: u64 = self.ranks.iter().map(|rank| rank.weights).sum();
        checkpoint + if with_engine { engine } else { 0 }
    }

    fn report<'r>(&'r self, order: &'r Order<'r>) -> Report<'r> {
        Report { order, draft: &self.draft, ranks: &self.ranks, files: &self.files }
    }

    /// Writes the checkpoint for `trtllm-build` into a folder.
    fn write(&self, folder: &Path, progress: &dyn Progress) -> Result<(), BuildError> {
        let path = folder.join("config.json");
        std::fs::write(&path, format!("{:#}\n", self.config_json)).map_err(BuildError::write(&path))?;
        let tensors = self.mapping.each().map(|rank| self.layout.rank(rank).len()).sum();
        progress.begin(tensors, self.files.iter().sum());
        for rank in self.mapping.each() {
            let path = folder.join(format!("rank{}.safetensors", rank.number()));
            match &self.prequantized {
                Some(prequantized) => {
                    let head = if rank.is_last_stage() { self.layout.lm_head(rank) } else { None };
                    prequantized.write(rank.number(), &path, head.as_ref(), progress)?;
                }
                None => rank_file::write(&path, &self.layout.rank(rank), progress)?,
            }
        }
        Ok(())
    }

    /// Lets the checkpoint in `staging` be the result.
    fn publish(&self, staging: Staging) -> Result<Outcome, BuildError> {
        let draft = serde_saphyr::to_string(&self.draft)
            .map_err(|error| BuildError::write(DRAFT_FILE)(std::io::Error::other(error.to_string())))?;
        staging.write(DRAFT_FILE, draft.as_bytes())?;
        staging.publish()?;
        Ok(Outcome::Checkpoint(self.mapping.ranks()))
    }
}

/// The checkpoint whose layers are to be taken, if one is.
fn prequantized(order: &Order<'_>, own_json: &Value) -> Result<Option<Prequantized>, BuildError> {
    let Some(directory) = &order.options.quantized else { return Ok(None) };
    if order.options.quantization != Quantization::None {
        let reason = "--quantized says how the checkpoint is quantized already; leave --quantization out";
        return Err(BuildError::Option(reason.to_owned()));
    }
    let prequantized = Prequantized::open(directory, own_json)?;
    prequantized.check(order.target)?;
    Ok(Some(prequantized))
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
