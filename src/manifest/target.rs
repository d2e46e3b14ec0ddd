//! The machine that an engine was built for.

use serde::{Deserialize, Serialize};

use super::{TRTLLM_CONFIG_FILE, WEIGHTS_FILE, rank_file};

/// The machine that an engine runs on.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum Target {
    /// The embedded CPU engine.
    Cpu {
        /// Instruction set that the weights are laid out for: oneDNN's name in lower case, for example
        /// `avx512_core_bf16` or `avx2`.
        instruction_set: String,
    },
    /// NVIDIA GPUs, driven by TensorRT-LLM.
    TensorrtLlm(GpuTarget),
}

impl Target {
    /// Number of processes that the engine runs as: one for each GPU, or one.
    pub(super) fn ranks(&self) -> usize {
        match self {
            Self::Cpu { .. } => 1,
            Self::TensorrtLlm(gpus) => gpus.ranks(),
        }
    }

    /// Files that a library reads from the directory by itself.
    pub(super) fn files_of_library(&self) -> Vec<String> {
        match self {
            Self::Cpu { .. } => Vec::new(),
            Self::TensorrtLlm(_) => self.files(),
        }
    }

    /// Files of the engine itself.
    pub(super) fn files(&self) -> Vec<String> {
        match self {
            Self::Cpu { .. } => vec![WEIGHTS_FILE.to_owned()],
            Self::TensorrtLlm(gpus) => {
                (0..gpus.ranks()).map(rank_file).chain([TRTLLM_CONFIG_FILE.to_owned()]).collect()
            }
        }
    }
}

/// What TensorRT-LLM assumes of a node if an engine does not say otherwise (`WorldConfig::kDefaultGpusPerNode`).
pub const DEFAULT_GPUS_PER_NODE: usize = 8;

/// The GPUs that a TensorRT-LLM engine runs on. They are here because its plan files do not name them.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GpuTarget {
    /// Device name as NVML prints it, for example `NVIDIA H100 80GB HBM3`.
    pub device: String,
    /// CUDA compute capability, `major.minor`.
    pub compute_capability: String,
    /// Number of ranks that divide every layer among them.
    pub tensor_parallel: usize,
    /// Number of ranks that divide the sequence of layers among them.
    pub pipeline_parallel: usize,
    /// Quantization of the layers' weights.
    #[serde(default, skip_serializing_if = "Quantization::is_none")]
    pub quantization: Quantization,
    /// What the engine is tuned for.
    #[serde(default)]
    pub objective: Objective,
    /// Version of TensorRT-LLM. Engines of another version are refused.
    pub tensorrt_llm: String,
    /// Version of TensorRT. Engines of another version are refused.
    pub tensorrt: String,
    /// Version of the driver that it was built with; informational.
    pub driver: String,
    /// GPUs of every node that its ranks run on, if it was built for another number than
    /// [`DEFAULT_GPUS_PER_NODE`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gpus_per_node: Option<usize>,
    /// Number of rows of `lm_head`, if it is the model's own and has other than the vocabulary's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lm_head_rows: Option<usize>,
}

impl GpuTarget {
    /// Number of ranks, one for each GPU.
    pub fn ranks(&self) -> usize {
        self.tensor_parallel * self.pipeline_parallel
    }

    /// GPUs of every node that its ranks run on.
    pub fn gpus_per_node(&self) -> usize {
        self.gpus_per_node.unwrap_or(DEFAULT_GPUS_PER_NODE)
    }
}

/// Quantization of the weights of an engine's layers. The embedding and the head are never quantized.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum Quantization {
    /// Not at all.
    #[default]
    None,
    /// 8-bit floats with a scale for each row, and activations too, with one for each token.
    Fp8,
    /// 8-bit integers with a scale for each row.
    Int8WeightOnly,
    /// 4-bit integers with a scale for each row.
    Int4WeightOnly,
    /// The checkpoint's own, by TensorRT-LLM's name of the algorithm, for example `NVFP4`.
    #[value(skip)]
    Checkpoint(String),
}

impl Quantization {
    fn is_none(&self) -> bool {
        *self == Self::None
    }
}

/// Its part of a profile's name, for example `fp8`; the type of the weights if there is no quantization.
impl std::fmt::Display for Quantization {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::None => f.write_str("bf16"),
            Self::Fp8 => f.write_str("fp8"),
            Self::Int8WeightOnly => f.write_str("int8wo"),
            Self::Int4WeightOnly => f.write_str("int4wo"),
            Self::Checkpoint(algorithm) => f.write_str(&algorithm.to_lowercase()),
        }
    }
}

/// What an engine is tuned for.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, clap::ValueEnum,
)]
#[serde(rename_all = "snake_case")]
pub enum Objective {
    /// Many sequences at once.
    #[default]
    Throughput,
    /// Each sequence as soon as can be.
    Latency,
}

impl std::fmt::Display for Objective {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Throughput => "throughput",
            Self::Latency => "latency",
        })
    }
}
