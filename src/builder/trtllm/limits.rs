//! Sizes that an engine is built for.

use super::TrtllmBuildOptions;
use crate::builder::config::Config;
use crate::builder::options::check_limits;
use crate::builder::{BuildError, DEFAULT_MAX_SEQ_LEN};
use crate::manifest::{BuildLimits, Objective, Task};

/// The requested limits, or those that suit the objective.
///
/// # Errors
/// The model cannot be built for them, or they contradict each other.
pub(super) fn limits(
    options: &TrtllmBuildOptions,
    config: &Config,
    task: Task,
) -> Result<BuildLimits, BuildError> {
    // TensorRT-LLM's rotary table ends there.
    let mut longest = config.max_position_embeddings;
    let mut why = format!("its positions reach {longest}");
    // TensorRT-LLM decides by the longest text of a batch what a text's own length should.
    if let Some(usual) = config.model.rope.scaling.usual_length()
        && usual < longest
    {
        longest = usual;
        why = format!(
            "it uses other rotary frequencies for texts of more than {usual} tokens, and TensorRT-LLM would do that \
             to the whole batch"
        );
    }
    let requested = &options.common;
    let max_seq_len = requested.max_seq_len.unwrap_or(longest.min(DEFAULT_MAX_SEQ_LEN));
    if max_seq_len > longest {
        let reason =
            format!("--max-seq-len {max_seq_len} is more than this model can be built for on GPUs: {why}");
        return Err(BuildError::Option(reason));
    }
    let (batch, tokens) = match options.gpu.objective.unwrap_or_default() {
        // A few dozen texts to score fill an iteration with tokens, and every sequence of a batch costs a dozen rows of
        // logits; sequences that generate add one token each.
        Objective::Throughput if task == Task::Reward => (64, 8192),
        Objective::Throughput => (256, 8192),
        Objective::Latency => (32, 4096),
    };
    let limits = BuildLimits {
        max_seq_len,
        max_batch_size: requested.max_batch_size.unwrap_or(batch),
        max_num_tokens: requested.max_num_tokens.unwrap_or(tokens),
    };
    check(&limits)?;
    Ok(limits)
}

/// Refuses limits that are 0 or contradict each other.
pub(super) fn check(limits: &BuildLimits) -> Result<(), BuildError> {
    check_limits(limits)?;
    if limits.max_num_tokens < limits.max_batch_size {
        let reason = format!(
            "--max-num-tokens {} is less than --max-batch-size {}: each sequence needs a token in an iteration",
            limits.max_num_tokens, limits.max_batch_size
        );
        return Err(BuildError::Option(reason));
    }
    Ok(())
}
