//! Engines for NVIDIA GPUs: a checkpoint for `trtllm-build` of TensorRT-LLM 1.2.1, and what that makes of it.
//!
//! Everything that can be refused is, before the first byte is written. The checkpoint is written tensor by
//! tensor. It may stay the result, with what the second step needs to know of it in [`DRAFT_FILE`], and be
//! built on another machine later.

mod command;
mod config_json;
mod draft;
mod engine;
mod families;
mod fit;
mod format;
mod head;
mod layout;
mod limits;
mod machine;
mod mapping;
mod model;
mod prequantized;
mod quantize;
mod rank_file;
mod report;

use std::path::PathBuf;

pub use mapping::Mapping;

use super::{BuildError, Progress};
use crate::hardware::gpus::Gpus as Machine;
use crate::hardware::targets::{Kind, Target};
use crate::manifest::{Manifest, Objective, Quantization, Task};

/// What the second step needs to know of a checkpoint: the manifest without what only an engine has.
pub const DRAFT_FILE: &str = "checkpoint.yaml";

/// What to build.
#[derive(Clone, Debug)]
pub struct Options {
    /// Directory of the model's checkpoint, or one that `checkpoint_only` left.
    pub model: PathBuf,
    /// Directory to make; it may exist if it is empty.
    pub output: PathBuf,
    /// Name of the target.
    pub target: String,
    /// Name under which the engine is served; the checkpoint directory's, if none is given.
    pub name: Option<String>,
    /// What to build it for; what it was made for, if nothing is said.
    pub task: Option<Task>,
    /// File that says what the checkpoint leaves open of its head.
    pub head: Option<PathBuf>,
    /// Give `lm_head` the head's rows alone rather than as many as the vocabulary's. Not tried on the library.
    pub small_head: bool,
    /// Ranks that each hold a part of every layer.
    pub tensor_parallel: usize,
    /// Stages that each hold some of the layers.
    pub pipeline_parallel: usize,
    /// How layers are quantized.
    pub quantization: Quantization,
    /// A TensorRT-LLM checkpoint of modelopt's whose layers are taken.
    pub quantized: Option<PathBuf>,
    /// What it is tuned for: of a checkpoint that `checkpoint_only` left what that was written for, else
    /// throughput, if nothing is said.
    pub objective: Option<Objective>,
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
            task: None,
            head: None,
            small_head: false,
            tensor_parallel: 1,
            pipeline_parallel: 1,
            quantization: Quantization::None,
            quantized: None,
            objective: None,
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

/// What is asked for, and where it is built.
struct Order<'o> {
    options: &'o Options,
    target: &'o Target,
    machine: &'o Machine,
    /// The GPUs' name as NVML prints it.
    device: String,
}

impl Order<'_> {
    /// How it is to be divided.
    fn mapping(&self) -> Mapping {
        let Options { tensor_parallel, pipeline_parallel, .. } = *self.options;
        Mapping { tensor_parallel, pipeline_parallel }
    }
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
    let order = Order { options, target: &target, machine, device };
    match options.model.join(DRAFT_FILE).is_file() {
        true => engine::of_checkpoint(&order, progress),
        false => model::build(&order, progress),
    }
}
