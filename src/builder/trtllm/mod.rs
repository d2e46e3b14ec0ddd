//! Engines for NVIDIA GPUs: writes a checkpoint for `trtllm-build` of TensorRT-LLM 1.2.1, and runs that.
//!
//! Everything that can be refused is refused before the first byte is written. The checkpoint is written tensor by
//! tensor. It may be the result, together with [`DRAFT_FILE`], and be built on another machine later.

mod check;
mod checkpoint;
mod command;
mod config_json;
mod engine;
mod fit;
mod format;
mod limits;
mod lm_head;
mod machine;
mod mapping;
mod prequantized;
mod process;
mod quantize;
mod rank_file;
mod rank_tensors;
mod report;

use std::path::PathBuf;

pub use mapping::Mapping;

use super::{BuildError, BuildOptions, Progress};
use crate::hardware::gpus::Gpus as Machine;
use crate::hardware::targets::{Kind, Target};
use crate::manifest::{Manifest, Objective, Quantization};

/// The manifest of an engine that a checkpoint is for, without what only an engine has.
pub const DRAFT_FILE: &str = "checkpoint.yaml";

/// What to build for GPUs.
#[derive(Clone, Debug)]
pub struct TrtllmBuildOptions {
    /// Options of every build. The model may also be a checkpoint that `checkpoint_only` wrote.
    pub common: BuildOptions,
    /// Name of the target.
    pub target: String,
    /// Give `lm_head` only as many rows as the head has, instead of the vocabulary's. Not tried on TensorRT-LLM.
    pub small_head: bool,
    /// Ranks that each have a part of every layer.
    pub tensor_parallel: usize,
    /// Stages that each have some of the layers.
    pub pipeline_parallel: usize,
    /// How layers are quantized.
    pub quantization: Quantization,
    /// A TensorRT-LLM checkpoint of modelopt's, to take the layers from.
    pub quantized: Option<PathBuf>,
    /// What the engine is tuned for; by default throughput, or what the checkpoint was written for.
    pub objective: Option<Objective>,
    /// Write the checkpoint and no engine.
    pub checkpoint_only: bool,
    /// Write nothing, and describe what would be written.
    pub dry_run: bool,
}

impl TrtllmBuildOptions {
    /// Builds `model` for one GPU of `target` into `output` with defaults for everything else.
    pub fn new(model: impl Into<PathBuf>, target: &str, output: impl Into<PathBuf>) -> Self {
        Self {
            common: BuildOptions::new(model, output),
            target: target.to_owned(),
            small_head: false,
            tensor_parallel: 1,
            pipeline_parallel: 1,
            quantization: Quantization::None,
            quantized: None,
            objective: None,
            checkpoint_only: false,
            dry_run: false,
        }
    }

    fn mapping(&self) -> Mapping {
        let Self { tensor_parallel, pipeline_parallel, .. } = *self;
        Mapping { tensor_parallel, pipeline_parallel }
    }
}

/// The result of a build.
#[derive(Debug)]
pub enum Outcome {
    /// A description of what would be done.
    Plan(String),
    /// A checkpoint for `trtllm-build`, for this number of ranks.
    Checkpoint(usize),
    /// An engine.
    Engine(Box<Manifest>),
}

/// The options of a build, and where it runs.
struct Context<'c> {
    options: &'c TrtllmBuildOptions,
    target: &'c Target,
    machine: &'c Machine,
    /// The GPUs' name as NVML prints it.
    device: String,
}

/// Builds on `machine` what `options` ask for.
///
/// # Errors
/// It cannot be built, written or run there, `trtllm-build` failed, or `progress` interrupted it. Nothing is left
/// in the output directory then.
pub fn build(
    options: &TrtllmBuildOptions,
    machine: &Machine,
    progress: &dyn Progress,
) -> Result<Outcome, BuildError> {
    let target = Target::find(&options.target)?;
    if target.kind != Kind::Gpu {
        return Err(BuildError::Option(format!(
            "--target {}: {} is not a GPU",
            options.target, target.title
        )));
    }
    let device = if options.checkpoint_only || options.dry_run {
        target.devices.first().cloned().unwrap_or_default()
    } else {
        machine::device(machine, &target)?
    };
    let context = Context { options, target: &target, machine, device };
    if options.common.model.join(DRAFT_FILE).is_file() {
        engine::build_from_checkpoint(&context, progress)
    } else {
        checkpoint::build(&context, progress)
    }
}
