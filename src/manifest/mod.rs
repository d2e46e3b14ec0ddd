//! `engine.yaml`, the manifest of an engine directory: what the engine is, which machine it was
//! built for, and the digest of every file beside it.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

mod head;
mod limits;
mod model;
mod sampling_defaults;
pub mod score_options;
pub(crate) mod verify;

pub use head::{Gating, Head, HeadLayer, Pooling, fault_of_names};
pub use limits::{BuildLimits, LimitError, LimitOverrides};
pub use model::{Activation, Model, Norm, QkNorm, Rope, RopeScaling, SlidingWindow, Variant};
pub use sampling_defaults::SamplingDefaults;

/// Name of the manifest inside an engine directory.
pub const MANIFEST_FILE: &str = "engine.yaml";
/// Name of the weights inside an engine directory (a safetensors file; see `docs/engines.md`).
pub const WEIGHTS_FILE: &str = "weights.safetensors";
/// Name of TensorRT-LLM's own description inside an engine directory for NVIDIA GPUs.
pub const TRTLLM_CONFIG_FILE: &str = "config.json";
/// Name of the file with a head's biases and the layers above its first, if it has any (a safetensors file
/// like [`WEIGHTS_FILE`]). The first layers' matrices are among the weights.
pub const HEAD_FILE: &str = "head.safetensors";
/// Name of the tokenizer inside an engine directory.
pub const TOKENIZER_FILE: &str = "tokenizer.json";
/// Name of the chat template inside an engine directory.
pub const TEMPLATE_FILE: &str = "chat_template.jinja";
/// Version of this layout. An engine of another version must be built again.
pub const FORMAT: u32 = 2;
/// Revision of the arithmetic that turns text into scores. Raise it with every change that changes bits: then
/// engines must be built again, and a scoring run that was begun with another revision is not continued.
pub const NUMERICS: u32 = 1;

/// The whole manifest.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    /// [`FORMAT`].
    pub format: u32,
    /// [`NUMERICS`].
    pub numerics: u32,
    /// How the engine is listed and pinned.
    pub profile: Profile,
    /// The decoder.
    pub model: Model,
    /// What it is for.
    pub task: Task,
    /// The machine it runs on.
    pub target: Target,
    /// What built it.
    pub built_with: BuiltWith,
    /// Type of weights, activations and KV cache.
    pub dtype: Dtype,
    /// Sizes fixed when it was built.
    pub limits: BuildLimits,
    /// What turns the last hidden state into scores.
    pub head: Head,
    /// What turns a conversation into token ids.
    pub prompt: PromptSpec,
    /// Every other file of the directory, by name.
    pub files: BTreeMap<String, FileDigest>,
}

/// How an engine is listed and pinned.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Profile {
    /// SHA-256 over the rest of the manifest, lower-case hexadecimal.
    pub id: String,
    /// Target and number format in one word, for example `onednn-avx2-f32`.
    pub name: String,
}

/// What an engine is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "snake_case")]
pub enum Task {
    /// Score the last turn of a conversation.
    Reward,
    /// Reply to a conversation.
    Chat,
    /// Continue a text.
    Completion,
}

impl Task {
    /// Whether it generates text.
    pub fn generates(self) -> bool {
        self != Self::Reward
    }
}

/// Its name in manifests and on command lines.
impl std::fmt::Display for Task {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Reward => "reward",
            Self::Chat => "chat",
            Self::Completion => "completion",
        })
    }
}

/// The machine an engine runs on.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum Target {
    /// The embedded CPU engine.
    Cpu {
        /// Instruction set that the weights are laid out for, as oneDNN names it in lower case,
        /// for example `avx512_core_bf16`, `avx2`.
        instruction_set: String,
    },
    /// NVIDIA GPUs, driven by TensorRT-LLM.
    TensorrtLlm(Gpus),
}

/// The GPUs that a TensorRT-LLM engine runs on. Its plan files do not say, so it is said here.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Gpus {
    /// Device name as NVML prints it, for example `NVIDIA H100 80GB HBM3`.
    pub device: String,
    /// CUDA compute capability, `major.minor`.
    pub compute_capability: String,
    /// Ranks that each hold a part of every layer.
    pub tensor_parallel: usize,
    /// Ranks that each hold some of the layers.
    pub pipeline_parallel: usize,
    /// How the weights of its layers are quantized.
    #[serde(default, skip_serializing_if = "Quantization::is_none")]
    pub quantization: Quantization,
    /// What it was tuned for.
    #[serde(default)]
    pub objective: Objective,
    /// Version of TensorRT-LLM; engines of another are refused.
    pub tensorrt_llm: String,
    /// Version of TensorRT; engines of another are refused.
    pub tensorrt: String,
    /// Version of the driver that it was built with, for the record.
    pub driver: String,
    /// Rows of `lm_head`, if they are the head's own and not as many as the vocabulary's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lm_head_rows: Option<usize>,
}

impl Gpus {
    /// Ranks, one for each GPU.
    pub fn ranks(&self) -> usize {
        self.tensor_parallel * self.pipeline_parallel
    }
}

/// How the weights of an engine's layers are quantized; its embedding and head never are.
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
    /// As the checkpoint was, by an algorithm that TensorRT-LLM names so, for example `NVFP4`.
    #[value(skip)]
    Checkpoint(String),
}

impl Quantization {
    fn is_none(&self) -> bool {
        *self == Self::None
    }
}

/// Its name in a profile's, for example `fp8`; the type of the weights where there is none.
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

/// Versions of what built an engine.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BuiltWith {
    /// Assay's own version.
    pub assay: String,
    /// oneDNN's version, `major.minor.patch`: another one lays weights out otherwise. Empty unless the
    /// target is a CPU.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub onednn: String,
}

/// Number formats of an engine.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "snake_case")]
pub enum Dtype {
    /// 32-bit floats.
    F32,
    /// bfloat16 weights, activations and KV cache; sums, norms and the head in f32.
    Bf16,
    /// int8 matrices, quantized by output, whose inputs are quantized by token; all else as in bf16, or
    /// in f32 where the processor has none.
    Int8,
}

impl std::fmt::Display for Dtype {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::F32 => "f32",
            Self::Bf16 => "bf16",
            Self::Int8 => "int8",
        })
    }
}

/// What turns a conversation into token ids.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PromptSpec {
    /// Special tokens that the template may name: `bos_token`, `eos_token`, ... to their text.
    pub special_tokens: BTreeMap<String, String>,
    /// Token ids that follow what the template renders.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub suffix: Vec<u32>,
    /// Whether the beginning of an answer follows the conversation.
    #[serde(default)]
    pub generation_prompt: bool,
    /// Token ids that end a generated text.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub end_tokens: Vec<u32>,
    /// How its makers would have a model that generates do so.
    #[serde(default, skip_serializing_if = "SamplingDefaults::is_empty")]
    pub sampling: SamplingDefaults,
    /// The control token that the assistant's turns may spell, to end a step.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub step_token: Option<String>,
}

/// Size and digest of one file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FileDigest {
    /// Size in bytes.
    pub bytes: u64,
    /// SHA-256, lower-case hexadecimal.
    pub sha256: String,
}

/// The fields by which a manifest of another version is recognised, whatever else it holds.
#[derive(Deserialize)]
struct Versions {
    format: u32,
    #[serde(default)]
    numerics: u32,
}

/// Why an engine directory cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ManifestError {
    /// The manifest is not there or cannot be read.
    #[error("{path} cannot be read ({source}); an engine directory is what `build-engine --output` wrote")]
    Unreadable {
        /// The manifest.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The manifest's text is not what this version writes.
    #[error("{path} is not a valid engine manifest: {reason}; build the engine again with `build-engine`")]
    Invalid {
        /// The manifest.
        path: PathBuf,
        /// What the parser says, with the line.
        reason: String,
    },
    /// A file is missing, changed or truncated.
    #[error("{path}: {reason}; copy the engine directory again or build it again with `build-engine`")]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
}

/// Version of TensorRT-LLM whose engines this version of Assay builds and serves.
pub const TENSORRT_LLM: &str = "1.2.1";

/// Name of a rank's plan file inside an engine directory for NVIDIA GPUs.
pub fn rank_file(rank: usize) -> String {
    format!("rank{rank}.engine")
}

impl Manifest {
    /// Processes that the engine runs as: one for each GPU, or one.
    pub fn ranks(&self) -> usize {
        match &self.target {
            Target::Cpu { .. } => 1,
            Target::TensorrtLlm(gpus) => gpus.ranks(),
        }
    }

    /// Logits of each position read: the vocabulary's if the engine generates, else the head's outputs.
    pub fn logits(&self) -> usize {
        if self.task.generates() { self.model.vocab_size } else { self.head.outputs() }
    }

    /// Numbers that the engine itself computes for each position read: the vocabulary's logits if it
    /// generates, else the products of the head's first layers.
    pub fn products(&self) -> usize {
        if self.task.generates() { self.model.vocab_size } else { self.head.products() }
    }

    /// Files that an engine of this target cannot do without.
    pub(crate) fn required_files(&self) -> Vec<String> {
        let mut files = match &self.target {
            Target::Cpu { .. } => vec![WEIGHTS_FILE.to_owned()],
            Target::TensorrtLlm(gpus) => {
                let ranks = (0..gpus.ranks()).map(rank_file);
                ranks.chain([TRTLLM_CONFIG_FILE.to_owned()]).collect()
            }
        };
        files.extend(self.companions().into_iter().map(str::to_owned));
        files
    }

    /// Files beside weights or plans that an engine of this target cannot do without.
    pub(crate) fn companions(&self) -> Vec<&'static str> {
        let head = self.head.has_upper_layers().then_some(HEAD_FILE);
        [TOKENIZER_FILE, TEMPLATE_FILE].into_iter().chain(head).collect()
    }

    /// Reads and checks `engine.yaml` of `directory`, not the files it names.
    ///
    /// # Errors
    /// It is missing, malformed or of another [`FORMAT`] or [`NUMERICS`].
    pub fn read(directory: &Path) -> Result<Self, ManifestError> {
        let path = directory.join(MANIFEST_FILE);
        let text = std::fs::read_to_string(&path)
            .map_err(|source| ManifestError::Unreadable { path: path.clone(), source })?;
        Self::parse(&text).map_err(|reason| ManifestError::Invalid { path, reason })
    }

    /// Parses a manifest's text; an error says what is wrong with it.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        // The versions come first: a manifest of another version would fail at some arbitrary field.
        if let Ok(Versions { format, numerics }) = serde_saphyr::from_str(text) {
            if format != FORMAT {
                return Err(format!("its format is {format}, this version reads {FORMAT}"));
            }
            if numerics != NUMERICS {
                return Err(format!(
                    "its numerics revision is {numerics}, this version computes revision {NUMERICS}"
                ));
            }
        }
        serde_saphyr::from_str(text).map_err(|error| error.without_snippet().to_string())
    }
}
