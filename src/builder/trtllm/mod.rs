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
mod rank_tensor;
mod rank_tensors;
mod report;

use std::path::PathBuf;

pub use mapping::Mapping;

use super::{BuildError, BuildOptions, Progress};
use crate::hardware::gpus::Gpus;
use crate::hardware::targets::{HardwareTarget, Kind};
use crate::manifest::{DEFAULT_GPUS_PER_NODE, Manifest, Objective, Quantization};

/// The manifest of an engine that a checkpoint is for, without what only an engine has.
pub const DRAFT_FILE: &str = "checkpoint.yaml";

/// What to build for GPUs.
#[derive(Clone, Debug)]
pub struct TrtllmBuildOptions {
    /// Options of every build. The model may also be a checkpoint that `checkpoint_only` wrote.
    pub common: BuildOptions,
    /// Name of the target.
    pub target: String,
    /// Options of GPU builds.
    pub gpu: GpuBuildOptions,
}

// The doc comments of the fields are the help of `build-engine`.

/// Heading of these options in the help.
pub const GPU_HEADING: &str = "GPU";

/// The options that only builds for GPUs have.
#[derive(Clone, Debug, PartialEq, Eq, clap::Args)]
#[command(next_help_heading = GPU_HEADING)]
pub struct GpuBuildOptions {
    /// Tensor parallelism: GPUs that share every layer
    #[arg(long = "tp", value_name = "COUNT", default_value_t = 1)]
    pub tensor_parallel: usize,
    /// Pipeline parallelism: groups of GPUs that share the layers between them
    #[arg(long = "pp", value_name = "COUNT", default_value_t = 1)]
    pub pipeline_parallel: usize,
    /// GPUs that the ranks use on every node, if they run on several [default: 8]
    #[arg(long, value_name = "COUNT")]
    pub gpus_per_node: Option<usize>,
    /// Quantization of the layers
    #[arg(long, value_enum, default_value = "none")]
    pub quantization: Quantization,
    /// TensorRT-LLM checkpoint from NVIDIA's modelopt, to take quantized layers from
    #[arg(long, value_name = "DIR")]
    pub quantized: Option<PathBuf>,
    /// Give lm_head only the head's rows; Llama-like models and Qwen only, not yet run on a GPU
    #[arg(long)]
    pub small_head: bool,
    /// What to optimize for [default: throughput]
    #[arg(long)]
    pub objective: Option<Objective>,
    /// Write only the checkpoint for trtllm-build; pass it as --model later, on the machine with the GPU
    #[arg(long)]
    pub checkpoint_only: bool,
    /// Print the plan, the memory per GPU and the command, and write nothing
    #[arg(long)]
    pub dry_run: bool,
}

impl Default for GpuBuildOptions {
    fn default() -> Self {
        Self {
            tensor_parallel: 1,
            pipeline_parallel: 1,
            gpus_per_node: None,
            quantization: Quantization::None,
            quantized: None,
            small_head: false,
            objective: None,
            checkpoint_only: false,
            dry_run: false,
        }
    }
}

impl TrtllmBuildOptions {
    /// Builds `model` for one GPU of `target` into `output` with defaults for everything else.
    pub fn new(model: impl Into<PathBuf>, target: &str, output: impl Into<PathBuf>) -> Self {
        Self {
            common: BuildOptions::new(model, output),
            target: target.to_owned(),
            gpu: GpuBuildOptions::default(),
        }
    }

    fn mapping(&self) -> Mapping {
        let GpuBuildOptions { tensor_parallel, pipeline_parallel, .. } = self.gpu;
        Mapping { tensor_parallel, pipeline_parallel }
    }

    /// GPUs of a node, unless there are as many as TensorRT-LLM assumes.
    fn gpus_per_node(&self) -> Option<usize> {
        self.gpu.gpus_per_node.filter(|&count| count != DEFAULT_GPUS_PER_NODE)
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
    target: &'c HardwareTarget,
    machine: &'c Gpus,
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
    machine: &Gpus,
    progress: &dyn Progress,
) -> Result<Outcome, BuildError> {
    let target = HardwareTarget::find(&options.target)?;
    if target.kind != Kind::Gpu {
        return Err(BuildError::Option(format!(
            "--target {}: {} is not a GPU",
            options.target, target.title
        )));
    }
    let device = if options.gpu.checkpoint_only || options.gpu.dry_run {
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
