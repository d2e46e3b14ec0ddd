//! Sizes that an engine is built for.

use super::Options;
use crate::builder::config::Config;
use crate::builder::{BuildError, DEFAULT_MAX_SEQ_LEN};
use crate::manifest::{BuildLimits, Objective};

/// Limits that were asked for, or what suits the objective.
///
/// # Errors
/// The model cannot be built for them, or they make no sense together.
pub(super) fn limits(options: &Options, config: &Config) -> Result<BuildLimits, BuildError> {
    // TensorRT-LLM's table of rotations ends there.
    let mut longest = config.max_position_embeddings;
    let mut why = format!("its positions reach {longest}");
    // The Executor is told of no windows, so an engine must not go beyond one.
    if let Some(window) = &config.model.variant.sliding_window
        && window.keys < longest
    {
        longest = window.keys;
        why = format!("its layers' window is {longest}, and longer sequences would be computed without it");
    }
    let max_seq_len = options.max_seq_len.unwrap_or(longest.min(DEFAULT_MAX_SEQ_LEN));
    if max_seq_len > longest {
        let reason =
            format!("--max-seq-len {max_seq_len} is more than this model can be built for on GPUs: {why}");
        return Err(BuildError::Option(reason));
    }
    let (batch, tokens) = match options.objective.unwrap_or_default() {
        Objective::Throughput => (256, 8192),
        Objective::Latency => (32, 4096),
    };
    checked(BuildLimits {
        max_seq_len,
        max_batch_size: options.max_batch_size.unwrap_or(batch),
        max_num_tokens: options.max_num_tokens.unwrap_or(tokens),
    })
}

/// Limits that make sense together.
///
/// # Errors
/// One is 0, or one of them contradicts another.
pub(super) fn checked(limits: BuildLimits) -> Result<BuildLimits, BuildError> {
    for (option, value) in [
        ("--max-seq-len", limits.max_seq_len),
        ("--max-batch-size", limits.max_batch_size),
        ("--max-num-tokens", limits.max_num_tokens),
    ] {
        if value == 0 {
            return Err(BuildError::Option(format!("{option} must be at least 1")));
        }
    }
    if limits.max_num_tokens < limits.max_batch_size {
        let reason = format!(
            "--max-num-tokens {} is less than --max-batch-size {}: each sequence needs a token in an iteration",
            limits.max_num_tokens, limits.max_batch_size
        );
        return Err(BuildError::Option(reason));
    }
    Ok(limits)
}
