//! Whether an engine fits the memory of its GPUs.

use std::fmt;

use indicatif::HumanBytes;

use super::mapping::{Mapping, Rank};
use crate::builder::BuildError;
use crate::hardware::targets::HardwareTarget;
use crate::manifest::{Manifest, Model, Target};

/// GPU memory for CUDA, TensorRT and NCCL, in addition to the engine's: assumed, not measured.
pub(super) const RUNTIME_BYTES: u64 = 1_500_000_000;
/// Rows of logits that a rank of the last stage keeps for each sequence of a batch: those of the last eight steps, which
/// are copied to the host in the background (`GenerationLogitsCache::kCACHE_LENGTH` of TensorRT-LLM's
/// `runtimeBuffers.h`), and those of this step.
const LOGIT_ROWS: u64 = 9;
/// Further rows of the sampler: its bias and its copy, and what top-p sorts. Read from its sources, not measured.
const SCORING_SAMPLER_ROWS: u64 = 2;
const GENERATING_SAMPLER_ROWS: u64 = 4;
/// Bytes of a bf16 number.
const BF16: u64 = 2;
/// Bytes of an f32 number.
const F32: u64 = 4;

/// Memory of one rank, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Memory {
    pub(super) weights: u64,
    /// The part of the weights that is `lm_head`'s.
    pub(super) lm_head: u64,
    /// Keys and values of one longest sequence.
    pub(super) kv_cache: u64,
    /// Activations between two layers and within one, for a full iteration.
    pub(super) activations: u64,
    /// Logits of a full batch, in all the places where they are kept.
    pub(super) logits: u64,
}

impl Memory {
    /// Estimates the memory of a rank of the engine that `draft` describes, with `weights` bytes of weights.
    pub(super) fn estimate(draft: &Manifest, mapping: Mapping, rank: Rank, weights: u64) -> Self {
        let Manifest { model, limits, target, task, .. } = draft;
        let layers = rank.layers(model.num_layers).len() as u64;
        let kv_heads = rank.kv_heads(model.num_kv_heads).len();
        let heads = rank.share(model.num_heads).len();
        let ffn = rank.share(mlp_width(model)).len();
        let kv_per_token = 2 * kv_heads as u64 * model.head_dim as u64 * BF16;
        // Residual, its norm and what is added to it; queries, keys, values and the attention's output; both
        // projections of the feed-forward network and their product.
        let width = 3 * model.hidden_size + (2 * heads + 2 * kv_heads) * model.head_dim + 3 * ffn;
        let vocab = mapping.padded_vocab(model.vocab_size);
        let small = match target {
            Target::TensorrtLlm(gpus) => gpus.lm_head_rows,
            Target::Cpu { .. } => {
                unreachable!("the memory of GPUs is estimated of an engine for a CPU")
            }
        };
        let sampler = if task.generates() { GENERATING_SAMPLER_ROWS } else { SCORING_SAMPLER_ROWS };
        // Each stage works on a batch of its own.
        let sequences = (limits.max_batch_size * mapping.pipeline_parallel) as u64;
        let rows = if rank.is_last_stage() { small.unwrap_or(vocab) as u64 } else { 0 };
        Self {
            weights,
            lm_head: rows / mapping.tensor_parallel as u64 * model.hidden_size as u64 * BF16,
            kv_cache: layers * kv_per_token * limits.max_seq_len as u64,
            activations: limits.max_num_tokens as u64 * width as u64 * BF16,
            logits: F32 * rows * sequences * (LOGIT_ROWS + sampler),
        }
    }

    /// All of it, including the runtime's.
    pub(super) fn total(&self) -> u64 {
        self.weights + self.kv_cache + self.activations + self.logits + RUNTIME_BYTES
    }

    /// Whether it fits a GPU of this kind.
    pub(super) fn fits(&self, target: &HardwareTarget) -> bool {
        self.total() <= memory_of(target)
    }

    /// # Errors
    /// It does not fit.
    pub(super) fn check(
        &self,
        target: &HardwareTarget,
        mapping: Mapping,
        rank: Rank,
    ) -> Result<(), BuildError> {
        if self.fits(target) {
            return Ok(());
        }
        Err(BuildError::Option(format!(
            "rank {} of {} does not fit {}: {self} = {}, of {}; raise --tp or --pp, quantize, lower --max-seq-len, \
             --max-batch-size or --max-num-tokens, or choose another target",
            rank.number(),
            mapping.ranks(),
            target.title,
            HumanBytes(self.total()),
            HumanBytes(memory_of(target)),
        )))
    }
}

impl fmt::Display for Memory {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            out,
            "weights {} (lm_head {} of that) + keys and values of a sequence of the longest length {} + activations \
             {} + logits {} + CUDA, TensorRT and NCCL {}",
            HumanBytes(self.weights),
            HumanBytes(self.lm_head),
            HumanBytes(self.kv_cache),
            HumanBytes(self.activations),
            HumanBytes(self.logits),
            HumanBytes(RUNTIME_BYTES),
        )
    }
}

/// The width of all feed-forward networks that a token goes through in a layer.
fn mlp_width(model: &Model) -> usize {
    let Some(experts) = &model.variant.experts else { return model.intermediate_size };
    let shared = experts.shared.as_ref().map_or(0, |shared| shared.intermediate_size);
    experts.active * experts.intermediate_size + shared
}

/// Memory of one GPU in bytes, according to its data sheet.
pub(super) fn memory_of(target: &HardwareTarget) -> u64 {
    (target.memory_gb * 1e9) as u64
}
