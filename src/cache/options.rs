//! Options of the commands that take a checkpoint where they take an engine.

use crate::builder::CheckpointOptions;
use crate::manifest::Dtype;

/// How a checkpoint is built before it is used.
#[derive(Clone, Debug, Default, clap::Args)]
#[command(next_help_heading = "Checkpoint, if the model is not an engine yet")]
pub struct ModelOptions {
    /// Machine to build for: `cpu`, which is the default on a machine without a GPU
    #[arg(long, env = "ASSAY_TARGET", value_name = "NAME")]
    pub target: Option<String>,
    /// Type of weights and activations [default: bf16 if the processor has it, else f32]
    #[arg(long, env = "ASSAY_DTYPE")]
    pub dtype: Option<Dtype>,
    /// Download the model from the Hugging Face hub if this machine does not have it, with the `hf` command
    #[arg(long, env = "ASSAY_DOWNLOAD")]
    pub download: bool,
    /// How it is read.
    #[command(flatten)]
    pub checkpoint: CheckpointOptions,
}

impl ModelOptions {
    /// Options for a command whose engines are for CPUs only.
    pub fn for_cpu() -> Self {
        Self { target: Some("cpu".to_owned()), ..Self::default() }
    }

    /// Whether an option is set that only says how a checkpoint is built.
    pub(super) fn build_only(&self) -> bool {
        self.checkpoint != CheckpointOptions::default()
    }
}
