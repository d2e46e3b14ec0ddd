//! Options of every build, and the sizes that an engine is built for.

use std::path::PathBuf;

use super::BuildError;
use crate::manifest::{BuildLimits, Task, TemplateDate};
use crate::prompt::ControlPolicy;

/// Longest sequence of an engine unless an option or the model says otherwise.
pub const DEFAULT_MAX_SEQ_LEN: usize = 32768;

// The doc comments of the fields are the help of `build-engine`.

/// What to build, for any kind of machine.
#[derive(Clone, Debug, clap::Args)]
pub struct BuildOptions {
    /// Checkpoint directory (safetensors, config.json, tokenizer, chat template), or OWNER/NAME in the hub's cache
    #[arg(long, value_name = "DIR")]
    pub model: PathBuf,
    /// Engine directory to create; must not exist, or be empty
    #[arg(long, value_name = "DIR")]
    pub output: PathBuf,
    /// Name of the model in the server [default: the name of the checkpoint directory]
    #[arg(long, value_name = "NAME")]
    pub name: Option<String>,
    /// How the checkpoint is read.
    #[command(flatten)]
    pub checkpoint: CheckpointOptions,
    /// Maximum length of a sequence [default: the model's, up to 32768]
    #[arg(long, value_name = "TOKENS", help_heading = "Limits")]
    pub max_seq_len: Option<usize>,
    /// Maximum sequences in a batch [default: 256; 32 for latency]
    #[arg(long, value_name = "COUNT", help_heading = "Limits")]
    pub max_batch_size: Option<usize>,
    /// Maximum tokens in a batch [default: 2048; on GPUs 8192, or 4096 for latency]
    #[arg(long, value_name = "TOKENS", help_heading = "Limits")]
    pub max_num_tokens: Option<usize>,
}

/// How a checkpoint is read, whatever the machine.
#[derive(Clone, Debug, Default, PartialEq, Eq, clap::Args)]
pub struct CheckpointOptions {
    /// Adapter (LoRA, as peft saves it) to merge into the model
    #[arg(long, value_name = "DIR")]
    pub adapter: Option<PathBuf>,
    /// Use of the model [default: reward for reward models, else chat, or completion without a chat template]
    #[arg(long)]
    pub task: Option<Task>,
    /// File that says which logits are scores, if the checkpoint does not (docs/models.md), or that describes a judge
    /// (docs/judges.md)
    #[arg(long, value_name = "FILE")]
    pub head: Option<PathBuf>,
    /// Which of the checkpoint's chat templates to use, by name [default: the one called default]
    #[arg(long, value_name = "NAME")]
    pub chat_template: Option<String>,
    /// Date that the chat template prints, if it prints one [default: the template's own, else 2024-07-26]
    #[arg(long, value_name = "YYYY-MM-DD")]
    pub template_date: Option<TemplateDate>,
    /// Tokens that the text of messages may not spell: those that structure conversations, or think and tool tags, too
    #[arg(long, value_name = "WHICH", default_value = "structure")]
    pub control_tokens: ControlPolicy,
}

impl BuildOptions {
    /// Builds `model` into `output` with defaults for everything else.
    pub fn new(model: impl Into<PathBuf>, output: impl Into<PathBuf>) -> Self {
        Self {
            model: model.into(),
            output: output.into(),
            name: None,
            checkpoint: CheckpointOptions::default(),
            max_seq_len: None,
            max_batch_size: None,
            max_num_tokens: None,
        }
    }
}

/// Refuses limits that no engine can have.
pub(super) fn check_limits(limits: &BuildLimits) -> Result<(), BuildError> {
    for (option, value) in [
        ("--max-seq-len", limits.max_seq_len),
        ("--max-batch-size", limits.max_batch_size),
        ("--max-num-tokens", limits.max_num_tokens),
    ] {
        if value == 0 {
            return Err(BuildError::Option(format!("{option} must be at least 1")));
        }
    }
    Ok(())
}
