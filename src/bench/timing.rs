//! How long an iteration would take on a machine that is not here: a model, not a measurement.
//!
//! An iteration takes the longer of computing and of reading memory, then the all-reduces of
//! tensor parallelism, then a fixed cost:
//!
//! - computing: 2 operations per weight and token outside the embedding, 4 x heads x head width per
//!   token, layer and key attended to, 2 per weight of the head and row of logits; at the stated
//!   share of the target's dense rate. Attention runs in 16 bits whatever the weights are.
//! - memory: every weight once, keys and values of each chunk's context once, those of its own
//!   tokens written once; at the stated share of the bandwidth.
//! - all-reduce: two per layer over the chunk's hidden states in 16 bits, as a ring.
//!
//! Left out: activations going through memory, imbalance between GPUs, host work beyond the fixed
//! cost, throttling.

use std::time::Duration;

use super::model_size::ModelSize;
use crate::engine::{Iteration, Limits};
use crate::hardware::targets::{Precision, Target, TargetError};

/// Keys, values and hidden states are 16 bits wide.
const STATE_BYTES: f64 = 2.0;
/// Share of the memory that weights and KV cache may fill; the rest is for activations.
const USABLE_MEMORY: f64 = 0.9;
/// Start of one all-reduce.
const ALL_REDUCE_LATENCY: f64 = 10e-6;
/// Why there is no timing for what was asked.
#[derive(Debug, thiserror::Error)]
pub enum TimingError {
    /// The weights do not fit.
    #[error(
        "the weights take {weights_gb:.1} GB in {precision} and {gpus} x {title} offer {usable_gb:.1} GB; \
         ask for more --gpus or a smaller --dtype"
    )]
    TooSmall {
        /// All weights, 10^9 bytes.
        weights_gb: f64,
        /// Their format.
        precision: Precision,
        /// GPUs asked for.
        gpus: usize,
        /// The target.
        title: String,
        /// Memory that weights and cache may fill, 10^9 bytes.
        usable_gb: f64,
    },
    /// A setting is out of its range.
    #[error("{0}")]
    Setting(String),
    /// The target has no such rate.
    #[error(transparent)]
    Target(#[from] TargetError),
}

/// What the model assumes about the software that would run.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Assumptions {
    /// GPUs that the model is split over (tensor parallelism).
    pub gpus: usize,
    /// Format of the weights.
    pub precision: Precision,
    /// Share of the dense rate that matrix products reach, above 0, at most 1.
    pub efficiency: f64,
    /// Share of the memory bandwidth that is reached, above 0, at most 1.
    pub memory_efficiency: f64,
    /// Cost of an iteration whatever is in it: launches, sampling, scheduling inside the engine.
    pub fixed: Duration,
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

/// Times iterations of one model on one target.
#[derive(Clone, Debug)]
pub struct Timing {
    model: ModelSize,
    target: Target,
    assumptions: Assumptions,
    /// Operations per second of products with weights, all GPUs, efficiency included.
    rate: f64,
    /// The same in 16 bits, for attention.
    attention_rate: f64,
    /// Bytes per second, all GPUs, efficiency included.
    bandwidth: f64,
    /// Bytes of keys and values of one token, all GPUs.
    kv_bytes: f64,
}

impl Timing {
    /// Timing of `model` on `assumptions.gpus` of `target`.
    ///
    /// # Errors
    /// The weights do not fit, the target lacks the precision, or a setting is out of range.
    pub fn new(model: ModelSize, target: Target, assumptions: Assumptions) -> Result<Self, TimingError> {
        check_range("--efficiency", assumptions.efficiency)?;
        check_range("--memory-efficiency", assumptions.memory_efficiency)?;
        if assumptions.gpus == 0 || assumptions.gpus > model.num_heads {
            let most = model.num_heads;
            return Err(TimingError::Setting(format!(
                "--gpus must be from 1 to {most}: the model has {most} attention heads to split"
            )));
        }
        let gpus = assumptions.gpus as f64;
        let rate = target.rate(assumptions.precision)?;
        let attention_precision = assumptions.precision.min(Precision::Bf16);
        let attention_rate = target.rate(attention_precision)?;
        // Fewer key-value heads than GPUs are kept more than once.
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
    pub fn iteration(&self, iteration: &Iteration) -> Duration {
        let chunks = iteration.chunks.iter();
        self.chunks(chunks.map(|chunk| Piece {
            position: chunk.position,
            tokens: chunk.tokens.len(),
            logits: chunk.logits.len(),
        }))
    }

    /// Time that an iteration of these pieces takes.
    pub fn chunks(&self, pieces: impl IntoIterator<Item = Piece>) -> Duration {
        let mut work = Work::default();
        for piece in pieces {
            work.add(&piece);
        }
        self.time(&work, 1.0)
    }

    /// The least time in which `work` can be computed in `iterations` iterations.
    pub fn time(&self, work: &Work, iterations: f64) -> Duration {
        let compute = work.tokens * 2.0 * self.model.layer_weights() / self.rate
            + work.logits * 2.0 * self.model.head_weights() / self.rate
            + work.attended * self.attention_per_key() / self.attention_rate;
        let weights = (self.model.layer_weights() + self.model.head_weights())
            * self.assumptions.precision.bytes()
            * iterations;
        let memory = (weights + (work.context + work.tokens) * self.kv_bytes) / self.bandwidth;
        let all_reduce = self.all_reduce(work.tokens, iterations);
        let fixed = self.assumptions.fixed.as_secs_f64() * iterations;
        Duration::from_secs_f64(compute.max(memory) + all_reduce + fixed)
    }

    /// Tokens whose keys and values fit beside the weights.
    pub fn kv_cache_tokens(&self) -> usize {
        let weights = self.model.all_weights() * self.assumptions.precision.bytes();
        ((self.usable_bytes() - weights).max(0.0) / self.kv_bytes) as usize
    }

    /// What such an engine would hold: TensorRT-LLM's defaults, and the cache that fits.
    pub fn limits(&self) -> Limits {
        let tokens_per_block = 32;
        Limits {
            max_seq_len: self.model.max_seq_len,
            max_batch_size: 2048,
            max_num_tokens: 8192,
            kv_blocks: self.kv_cache_tokens() / tokens_per_block,
            tokens_per_block,
        }
    }

    /// Every assumption, a line each, for whoever reads a figure that came of it.
    pub fn describe(&self) -> Vec<String> {
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
            lines.push(format!("two ring all-reduces per layer at {link} GB/s each way, 10 us to start one"));
        }
        lines.extend(self.target.note.clone());
        lines
    }

    fn attention_per_key(&self) -> f64 {
        4.0 * (self.model.num_layers * self.model.num_heads * self.model.head_dim) as f64
    }

    fn all_reduce(&self, tokens: f64, iterations: f64) -> f64 {
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

/// A run of one sequence's tokens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Piece {
    /// Position of the first of them.
    pub position: usize,
    /// How many.
    pub tokens: usize,
    /// After how many of them the logits are wanted.
    pub logits: usize,
}

/// A sum of [`Piece`]s, as far as it sets their cost.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Work {
    /// Tokens computed.
    pub tokens: f64,
    /// Rows of logits.
    pub logits: f64,
    /// Keys attended to, summed over the tokens.
    pub attended: f64,
    /// Tokens whose keys and values are read from before the piece.
    pub context: f64,
}

impl Work {
    /// Adds a piece.
    pub fn add(&mut self, piece: &Piece) {
        let (position, tokens) = (piece.position as f64, piece.tokens as f64);
        self.tokens += tokens;
        self.attended += tokens * position + tokens * (tokens + 1.0) / 2.0;
        self.context += position;
        self.logits += piece.logits as f64;
    }
}

fn check_range(name: &str, share: f64) -> Result<(), TimingError> {
    if share > 0.0 && share <= 1.0 {
        return Ok(());
    }
    Err(TimingError::Setting(format!("{name} is {share}; it must be above 0 and at most 1")))
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

    fn timing(target: &str, assumptions: Assumptions) -> Timing {
        Timing::new(eight_billion(), Target::find(target).unwrap(), assumptions).unwrap()
    }

    fn prompt(tokens: usize) -> Piece {
        Piece { position: 0, tokens, logits: 1 }
    }

    #[test]
    fn a_full_iteration_costs_its_operations() {
        let timing = timing("h100", Assumptions { fixed: Duration::ZERO, ..Assumptions::default() });
        let weights = 32.0 * 4096.0 * (5120.0 * 2.0 + 3.0 * 14336.0);
        let attention = 4.0 * 32.0 * 4096.0 * 8.0 * (1024.0 * 1025.0 / 2.0);
        let operations = 8192.0 * 2.0 * weights + 8.0 * 2.0 * 4096.0 + attention;
        let took = timing.chunks([prompt(1024); 8]).as_secs_f64();
        let expected = operations / (989.5e12 * 0.6);
        assert!((took / expected - 1.0).abs() < 1e-6, "{took} {expected}");
    }

    #[test]
    fn a_nearly_empty_iteration_costs_reading_the_weights() {
        let timing = timing("h100", Assumptions { fixed: Duration::ZERO, ..Assumptions::default() });
        let took = timing.chunks([Piece { position: 99, tokens: 1, logits: 1 }]).as_secs_f64();
        let weights = 2.0 * (32.0 * 4096.0 * (5120.0 * 2.0 + 3.0 * 14336.0) + 4096.0);
        let kv = 100.0 * 32.0 * 2.0 * 1024.0 * 2.0;
        let expected = (weights + kv) / (3350e9 * 0.8);
        assert!((took / expected - 1.0).abs() < 1e-6, "{took} {expected}");
    }

    #[test]
    fn more_gpus_are_faster_but_not_by_their_number() {
        let one = timing("h100", Assumptions::default()).chunks([prompt(8192)]);
        let four = timing("h100", Assumptions { gpus: 4, ..Assumptions::default() }).chunks([prompt(8192)]);
        assert!(four < one && four * 4 > one, "{one:?} {four:?}");
    }

    #[test]
    fn the_fixed_cost_counts_once_per_iteration() {
        let with = timing("l4", Assumptions { fixed: Duration::from_millis(5), ..Assumptions::default() });
        let without = timing("l4", Assumptions { fixed: Duration::ZERO, ..Assumptions::default() });
        let gap = with.chunks([prompt(64)]) - without.chunks([prompt(64)]);
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
        let target = Target::find("h100").unwrap();
        let error = Timing::new(seventy.clone(), target.clone(), Assumptions::default()).unwrap_err();
        let message = error.to_string();
        assert!(message.contains("139.") && message.contains("72.0 GB"), "{message}");
        assert!(Timing::new(seventy, target, Assumptions { gpus: 4, ..Assumptions::default() }).is_ok());
    }

    #[test]
    fn settings_out_of_range_are_refused_by_name() {
        let target = Target::find("h100").unwrap();
        let refuse =
            |assumptions| Timing::new(eight_billion(), target.clone(), assumptions).unwrap_err().to_string();
        assert!(refuse(Assumptions { efficiency: 1.5, ..Assumptions::default() }).contains("--efficiency"));
        assert!(refuse(Assumptions { gpus: 0, ..Assumptions::default() }).contains("--gpus"));
    }
}
