//! Models how long an iteration takes on a machine that is not available: a model, not a measurement.
//!
//! An iteration takes as long as its computation or its memory traffic, whichever is longer, plus the
//! all-reduces of tensor parallelism, plus a fixed cost:
//!
//! - Computation: 2 operations per token and weight outside the embedding, 4 x heads x head width per
//!   token, layer and attended key, and 2 per row of logits and weight of the output head; at the given
//!   share of the target's dense rate. Attention runs in 16 bits, whatever the type of the weights.
//! - Memory traffic: every weight is read once, keys and values of each chunk's context are read once, and
//!   those of its own tokens are written once; at the given share of the bandwidth.
//! - All-reduces: two per layer, over the chunk's hidden states in 16 bits, as a ring.
//!
//! Not modelled: memory traffic of activations, imbalance between GPUs, host work beyond the fixed cost,
//! and throttling.

use std::time::Duration;

use super::model_size::ModelSize;
use crate::engine::{Iteration, Limits};
use crate::hardware::targets::{HardwareTarget, Precision, TargetError};

/// Keys, values and hidden states are 16 bits wide.
const STATE_BYTES: f64 = 2.0;
/// Share of the memory for weights and KV cache; the rest is for activations.
const USABLE_MEMORY: f64 = 0.9;
/// Time to start one all-reduce, in seconds.
const ALL_REDUCE_LATENCY: f64 = 10e-6;

/// Why a model cannot be timed on a target.
#[derive(Debug, thiserror::Error)]
pub enum TimingError {
    /// The weights do not fit.
    #[error(
        "the weights take {weights_gb:.1} GB in {precision}, but {gpus} x {title} have {usable_gb:.1} GB for them; \
         set more --gpus or a smaller --dtype"
    )]
    TooSmall {
        /// Size of all weights, in 10^9 bytes.
        weights_gb: f64,
        /// Type of the weights.
        precision: Precision,
        gpus: usize,
        /// Name of the target.
        title: String,
        /// Memory for weights and KV cache, in 10^9 bytes.
        usable_gb: f64,
    },
    /// A share is not above 0 and at most 1.
    #[error("{option} is {share}; it must be above 0 and at most 1")]
    Share { option: &'static str, share: f64 },
    /// There are more GPUs than attention heads, or none.
    #[error("--gpus must be from 1 to {heads}: the model has {heads} attention heads to split")]
    Gpus {
        /// Attention heads of the model.
        heads: usize,
    },
    /// The target does not support the type of the weights.
    #[error(transparent)]
    Target(#[from] TargetError),
}

/// Assumptions about the software that runs on the target.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Assumptions {
    /// Number of GPUs that the model is split over (tensor parallelism).
    pub(super) gpus: usize,
    /// Type of the weights.
    pub(super) precision: Precision,
    /// Share of the dense rate that matrix products reach; above 0, at most 1.
    pub(super) efficiency: f64,
    /// Share of the memory bandwidth that is reached; above 0, at most 1.
    pub(super) memory_efficiency: f64,
    /// Fixed cost of an iteration: kernel launches, sampling, scheduling inside the engine.
    pub(super) fixed: Duration,
}

impl Default for Assumptions {
    fn default() -> Self {
        Self {
            gpus: 1,
            precision: Precision::Bf16,
            efficiency: 0.6,
            memory_efficiency: 0.8,
            fixed: Duration::from_millis(1),
        }
    }
}

/// Computes how long iterations of one model take on one target.
#[derive(Clone, Debug)]
pub(super) struct TimingModel {
    model: ModelSize,
    target: HardwareTarget,
    assumptions: Assumptions,
    /// Operations per second of products with weights, on all GPUs, at the assumed efficiency.
    rate: f64,
    /// The same in 16 bits, for attention.
    attention_rate: f64,
    /// Memory bandwidth of all GPUs in bytes per second, at the assumed efficiency.
    bandwidth: f64,
    /// Bytes of the keys and values of one token, on all GPUs.
    kv_bytes: f64,
}

impl TimingModel {
    /// Models the time of `model` on `assumptions.gpus` of `target`.
    ///
    /// # Errors
    /// See [`TimingError`].
    pub(super) fn new(
        model: ModelSize,
        target: HardwareTarget,
        assumptions: Assumptions,
    ) -> Result<Self, TimingError> {
        check_share("--efficiency", assumptions.efficiency)?;
        check_share("--memory-efficiency", assumptions.memory_efficiency)?;
        if assumptions.gpus == 0 || assumptions.gpus > model.num_heads {
            return Err(TimingError::Gpus { heads: model.num_heads });
        }
        let gpus = assumptions.gpus as f64;
        let rate = target.rate(assumptions.precision)?;
        let attention_precision = assumptions.precision.min(Precision::Bf16);
        let attention_rate = target.rate(attention_precision)?;
        // If there are fewer key-value heads than GPUs, several GPUs keep the same one.
        let kv_heads = model.num_kv_heads.div_ceil(assumptions.gpus) * assumptions.gpus;
        let kv_bytes = 2.0 * (model.num_layers * kv_heads * model.head_dim) as f64 * STATE_BYTES;
        let timing = Self {
            rate: rate * assumptions.efficiency * gpus,
            attention_rate: attention_rate * assumptions.efficiency * gpus,
            bandwidth: target.memory_gb_per_s * 1e9 * assumptions.memory_efficiency * gpus,
            kv_bytes,
            model,
            target,
            assumptions,
        };
        if timing.kv_cache_tokens() < timing.model.max_seq_len.min(2048) {
            return Err(TimingError::TooSmall {
                weights_gb: timing.model.all_weights() * timing.assumptions.precision.bytes() / 1e9,
                precision: timing.assumptions.precision,
                gpus: timing.assumptions.gpus,
                title: timing.target.title.clone(),
                usable_gb: timing.usable_bytes() / 1e9,
            });
        }
        Ok(timing)
    }

    /// Time that `iteration` takes.
    pub(super) fn iteration_time(&self, iteration: &Iteration) -> Duration {
        let mut cost = ComputeCost::default();
        for chunk in &iteration.chunks {
            cost.add(&TokenRun {
                position: chunk.position,
                tokens: chunk.tokens.len(),
                logits: chunk.logits.len(),
            });
        }
        self.time(&cost, 1.0)
    }

    /// Minimum time to compute `cost` in `iterations` iterations.
    pub(super) fn time(&self, cost: &ComputeCost, iterations: f64) -> Duration {
        let compute = cost.tokens * 2.0 * self.model.layer_weights() / self.rate
            + cost.logits * 2.0 * self.model.head_weights() / self.rate
            + cost.attended * self.attention_per_key() / self.attention_rate;
        let weights = (self.model.layer_weights() + self.model.head_weights())
            * self.assumptions.precision.bytes()
            * iterations;
        let memory = (weights + (cost.context + cost.tokens) * self.kv_bytes) / self.bandwidth;
        let all_reduce = self.all_reduce_seconds(cost.tokens, iterations);
        let fixed = self.assumptions.fixed.as_secs_f64() * iterations;
        Duration::from_secs_f64(compute.max(memory) + all_reduce + fixed)
    }

    /// Number of tokens whose keys and values fit beside the weights.
    fn kv_cache_tokens(&self) -> usize {
        let weights = self.model.all_weights() * self.assumptions.precision.bytes();
        ((self.usable_bytes() - weights).max(0.0) / self.kv_bytes) as usize
    }

    /// Limits of an engine on this target: TensorRT-LLM's defaults, and the KV cache that fits.
    pub(super) fn limits(&self) -> Limits {
        let tokens_per_block = 32;
        Limits {
            max_seq_len: self.model.max_seq_len,
            max_batch_size: 2048,
            max_num_tokens: 8192,
            kv_blocks: self.kv_cache_tokens() / tokens_per_block,
            tokens_per_block,
        }
    }

    /// Every assumption, one in each line, to print beside the results.
    pub(super) fn describe(&self) -> Vec<String> {
        let Assumptions { gpus, precision, efficiency, memory_efficiency, fixed } = self.assumptions;
        let rate = self.target.dense_tflops.get(&precision).copied().unwrap_or_default();
        let mut lines = vec![
            format!("{gpus} x {} ({})", self.target.title, self.target.source),
            format!(
                "{:.2} billion weights outside the embedding in {precision}, keys and values in 16 bits",
                (self.model.layer_weights() + self.model.head_weights()) / 1e9
            ),
            format!("computing at {:.0}% of {rate} dense TFLOPS per GPU", efficiency * 100.0),
            format!(
                "memory at {:.0}% of {} GB/s per GPU; weights read once per iteration",
                memory_efficiency * 100.0,
                self.target.memory_gb_per_s
            ),
            format!("{:.2} ms fixed per iteration", fixed.as_secs_f64() * 1e3),
        ];
        if gpus > 1 {
            let link = self.target.link_gb_per_s;
            lines
                .push(format!("two ring all-reduces per layer at {link} GB/s each way, 10 µs to start each"));
        }
        lines.extend(self.target.note.clone());
        lines
    }

    fn attention_per_key(&self) -> f64 {
        4.0 * (self.model.num_layers * self.model.num_heads * self.model.head_dim) as f64
    }

    fn all_reduce_seconds(&self, tokens: f64, iterations: f64) -> f64 {
        let gpus = self.assumptions.gpus as f64;
        if gpus < 2.0 {
            return 0.0;
        }
        let bytes = tokens * self.model.hidden_size as f64 * STATE_BYTES;
        let transfer = 2.0 * (gpus - 1.0) / gpus * bytes / (self.target.link_gb_per_s * 1e9);
        2.0 * self.model.num_layers as f64 * (transfer + ALL_REDUCE_LATENCY * iterations)
    }

    fn usable_bytes(&self) -> f64 {
        self.target.memory_gb * 1e9 * USABLE_MEMORY * self.assumptions.gpus as f64
    }
}

/// Consecutive tokens of one sequence.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct TokenRun {
    /// Position of the first one in the sequence.
    pub(super) position: usize,
    /// Number of tokens.
    pub(super) tokens: usize,
    /// Number of rows of logits.
    pub(super) logits: usize,
}

/// The sums over several [`TokenRun`]s that determine their cost.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct ComputeCost {
    /// Number of tokens.
    pub(super) tokens: f64,
    /// Number of rows of logits.
    logits: f64,
    /// Number of attended keys, summed over the tokens.
    attended: f64,
    /// Number of earlier tokens whose keys and values are read.
    context: f64,
}

impl ComputeCost {
    pub(super) fn add(&mut self, run: &TokenRun) {
        let (position, tokens) = (run.position as f64, run.tokens as f64);
        self.tokens += tokens;
        self.attended += tokens * position + tokens * (tokens + 1.0) / 2.0;
        self.context += position;
        self.logits += run.logits as f64;
    }
}

fn check_share(option: &'static str, share: f64) -> Result<(), TimingError> {
    if share > 0.0 && share <= 1.0 { Ok(()) } else { Err(TimingError::Share { option, share }) }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Llama 3.1 8B as a reward model.
    fn eight_billion() -> ModelSize {
        ModelSize {
            num_layers: 32,
            hidden_size: 4096,
            intermediate_size: 14336,
            gated: true,
            num_heads: 32,
            num_kv_heads: 8,
            head_dim: 128,
            vocab_size: 128_256,
            head_rows: 1,
            max_seq_len: 8192,
        }
    }

    fn timing(target: &str, assumptions: Assumptions) -> TimingModel {
        TimingModel::new(eight_billion(), HardwareTarget::find(target).unwrap(), assumptions).unwrap()
    }

    fn prompt(tokens: usize) -> TokenRun {
        TokenRun { position: 0, tokens, logits: 1 }
    }

    /// Time of one iteration.
    fn time(timing: &TimingModel, runs: &[TokenRun]) -> Duration {
        let mut cost = ComputeCost::default();
        runs.iter().for_each(|run| cost.add(run));
        timing.time(&cost, 1.0)
    }

    #[test]
    fn a_full_iteration_takes_as_long_as_its_operations() {
        let timing = timing("h100", Assumptions { fixed: Duration::ZERO, ..Assumptions::default() });
        let weights = 32.0 * 4096.0 * (5120.0 * 2.0 + 3.0 * 14336.0);
        let attention = 4.0 * 32.0 * 4096.0 * 8.0 * (1024.0 * 1025.0 / 2.0);
        let operations = 8192.0 * 2.0 * weights + 8.0 * 2.0 * 4096.0 + attention;
        let took = time(&timing, &[prompt(1024); 8]).as_secs_f64();
        let expected = operations / (989.5e12 * 0.6);
        assert!((took / expected - 1.0).abs() < 1e-6, "{took} {expected}");
    }

    #[test]
    fn a_nearly_empty_iteration_takes_as_long_as_reading_the_weights() {
        let timing = timing("h100", Assumptions { fixed: Duration::ZERO, ..Assumptions::default() });
        let took = time(&timing, &[TokenRun { position: 99, tokens: 1, logits: 1 }]).as_secs_f64();
        let weights = 2.0 * (32.0 * 4096.0 * (5120.0 * 2.0 + 3.0 * 14336.0) + 4096.0);
        let kv = 100.0 * 32.0 * 2.0 * 1024.0 * 2.0;
        let expected = (weights + kv) / (3350e9 * 0.8);
        assert!((took / expected - 1.0).abs() < 1e-6, "{took} {expected}");
    }

    #[test]
    fn more_gpus_are_faster_but_less_than_proportionally() {
        let one = time(&timing("h100", Assumptions::default()), &[prompt(8192)]);
        let four = timing("h100", Assumptions { gpus: 4, ..Assumptions::default() });
        let four = time(&four, &[prompt(8192)]);
        assert!(four < one && four * 4 > one, "{one:?} {four:?}");
    }

    #[test]
    fn the_fixed_cost_counts_once_per_iteration() {
        let with = timing("l4", Assumptions { fixed: Duration::from_millis(5), ..Assumptions::default() });
        let without = timing("l4", Assumptions { fixed: Duration::ZERO, ..Assumptions::default() });
        let gap = time(&with, &[prompt(64)]) - time(&without, &[prompt(64)]);
        assert!((gap.as_secs_f64() - 0.005).abs() < 1e-9);
    }

    #[test]
    fn a_model_too_large_for_the_gpus_is_refused_with_the_sizes() {
        let seventy = ModelSize {
            num_layers: 80,
            hidden_size: 8192,
            intermediate_size: 28672,
            num_heads: 64,
            ..eight_billion()
        };
        let target = HardwareTarget::find("h100").unwrap();
        let error = TimingModel::new(seventy.clone(), target.clone(), Assumptions::default()).unwrap_err();
        let message = error.to_string();
        assert!(message.contains("139.") && message.contains("72.0 GB"), "{message}");
        assert!(TimingModel::new(seventy, target, Assumptions { gpus: 4, ..Assumptions::default() }).is_ok());
    }

    #[test]
    fn options_out_of_range_are_named() {
        let target = HardwareTarget::find("h100").unwrap();
        let refuse = |assumptions| {
            TimingModel::new(eight_billion(), target.clone(), assumptions).unwrap_err().to_string()
        };
        assert!(refuse(Assumptions { efficiency: 1.5, ..Assumptions::default() }).contains("--efficiency"));
        assert!(refuse(Assumptions { gpus: 0, ..Assumptions::default() }).contains("--gpus"));
    }
}
