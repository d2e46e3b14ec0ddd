//! Options of every build, and the sizes that an engine is built for.

use std::path::PathBuf;

use super::BuildError;
use crate::manifest::{BuildLimits, Task};

/// Longest sequence of an engine unless an option or the model says otherwise.
pub const DEFAULT_MAX_SEQ_LEN: usize = 32768;

/// What to build, for any kind of machine.
#[derive(Clone, Debug)]
pub struct BuildOptions {
    /// Directory of the checkpoint.
    pub model: PathBuf,
    /// Directory to make; it may exist if it is empty.
    pub output: PathBuf,
    /// Name under which the engine is served; by default that of the checkpoint's directory.
    pub name: Option<String>,
    /// What the engine is for; by default what the checkpoint was made for.
    pub task: Option<Task>,
    /// File that says which logits are scores, for checkpoints that do not.
    pub head: Option<PathBuf>,
    /// Longest sequence in tokens; by default the model's, up to [`DEFAULT_MAX_SEQ_LEN`].
    pub max_seq_len: Option<usize>,
    /// Most sequences in one iteration; the default depends on the kind of machine.
    pub max_batch_size: Option<usize>,
    /// Most tokens in one iteration; the default depends on the kind of machine.
    pub max_num_tokens: Option<usize>,
}

impl BuildOptions {
    /// Builds `model` into `output` with defaults for everything else.
    pub fn new(model: impl Into<PathBuf>, output: impl Into<PathBuf>) -> Self {
        Self {
            model: model.into(),
            output: output.into(),
            name: None,
            task: None,
            head: None,
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
