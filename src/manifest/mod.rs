//! `engine.yaml`, the manifest of an engine directory: what the engine is, which machine it was built for,
//! and the digest of every other file in the directory.

use std::collections::BTreeMap;
use std::path::Path;

use serde::{Deserialize, Serialize};

mod attribute_names;
mod bounds;
mod control_tokens;
pub(crate) mod digest;
mod engine_identity;
mod error;
mod files;
mod head;
pub mod judge;
mod limits;
mod model;
mod plain_file;
mod sampling_defaults;
pub mod score_options;
mod separate_steps;
mod target;
mod template_date;
pub(crate) mod unique_keys;
pub(crate) mod verify;
pub(crate) mod wording;

pub use attribute_names::AttributeNameError;
pub(crate) use attribute_names::{OTHER_COLUMNS, check_attribute_names};
pub use bounds::OutOfBounds;
pub use control_tokens::ControlTokens;
pub use digest::FileDigest;
pub use engine_identity::EngineIdentity;
pub use error::{Damage, InvalidManifest, ManifestError};
pub use files::EngineFiles;
pub use head::{Gating, HeadActivation, HeadLayer, HiddenLayer, ManifestHead, Pooling, StepValue};
pub use judge::{AnswerScore, Judge, JudgeFile, JudgeFileError, Question, QuestionError};
pub use limits::{BuildLimits, LimitError, LimitOverrides};
pub use model::{
    Activation, Bidirectional, Experts, LearnedPositions, Model, Norm, QkNorm, QueryGrowth,
    RelativePositions, Rope, RopeScaling, Segments, SharedExpert, SlidingWindow, Variant,
};
pub(crate) use plain_file::{read_plain_file, read_plain_text};
pub use sampling_defaults::SamplingDefaults;
pub use separate_steps::SeparateSteps;
pub use target::{DEFAULT_GPUS_PER_NODE, GpuTarget, Objective, Quantization, Target};
pub use template_date::{NotADate, TemplateDate};

/// Name of the manifest inside an engine directory.
pub const MANIFEST_FILE: &str = "engine.yaml";
/// Name of the weights inside an engine directory (a safetensors file; see `docs/engine-format.md`).
pub const WEIGHTS_FILE: &str = "weights.safetensors";
/// Name of TensorRT-LLM's own configuration inside an engine directory for NVIDIA GPUs.
pub const TRTLLM_CONFIG_FILE: &str = "config.json";
/// Name of the file with a head's biases and the layers above its first, if it has any (a safetensors file
/// like [`WEIGHTS_FILE`]). The first layers' matrices are among the weights.
pub const HEAD_FILE: &str = "head.safetensors";
/// Name of the tokenizer inside an engine directory.
pub const TOKENIZER_FILE: &str = "tokenizer.json";
/// Name of the chat template inside an engine directory.
pub const TEMPLATE_FILE: &str = "chat_template.jinja";
/// Bytes of the largest manifest that is read. Real ones have a few thousand.
const LARGEST_MANIFEST: u64 = 16 << 20;
/// Version of this layout. An engine of another version must be built again.
pub const FORMAT: u32 = 3;
/// Revision of what turns text into scores, from tokens to arithmetic. Raise it with every change that changes bits:
/// then engines must be built again, and a scoring run that started with another revision cannot continue.
pub const NUMERICS: u32 = 4;

/// What `engine.yaml` says: the engine's target, sizes, prompts and head, and the digests of its files.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    /// [`FORMAT`].
    pub format: u32,
    /// [`NUMERICS`].
    pub numerics: u32,
    /// Id and name of the engine.
    pub profile: Profile,
    /// What is computed.
    pub model: Model,
    /// What the engine is for.
    pub task: Task,
    /// The machine that it runs on.
    pub target: Target,
    /// Versions of the software that built it.
    pub built_with: BuiltWith,
    /// Type of weights, activations and KV cache.
    pub dtype: Dtype,
    /// Limits fixed when it was built.
    pub limits: BuildLimits,
    /// What turns the last hidden state into scores.
    pub head: ManifestHead,
    /// What turns a conversation into token ids.
    pub prompt: PromptSpec,
    /// Every other file of the directory, by name.
    pub files: BTreeMap<String, FileDigest>,
}

/// Id and name of an engine, by which servers list and select it.
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

/// The name in manifests and on command lines.
impl std::fmt::Display for Task {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Reward => "reward",
            Self::Chat => "chat",
            Self::Completion => "completion",
        })
    }
}

/// Versions of the software that built an engine.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BuiltWith {
    /// Assay's own version.
    pub assay: String,
    /// oneDNN's version, `major.minor.patch`: other versions lay weights out differently. Empty unless the
    /// target is a CPU.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub onednn: String,
}

/// Type of an engine's weights, activations and KV cache.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "snake_case")]
pub enum Dtype {
    /// 32-bit floats.
    #[value(aliases = ["float32", "fp32"])]
    F32,
    /// bfloat16 weights, activations and KV cache; sums, norms and the head in f32.
    #[value(alias = "bfloat16")]
    Bf16,
    /// int8 matrices, quantized by output, whose inputs are quantized by token; all else as in bf16, or
    /// in f32 where the processor has none.
    Int8,
}

impl Dtype {
    /// Bits of one weight of a matrix.
    pub(crate) fn bits(self) -> u32 {
        match self {
            Self::F32 => 32,
            Self::Bf16 => 16,
            Self::Int8 => 8,
        }
    }
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
    /// Text of the special tokens that the template may use: `bos_token`, `eos_token`, ...
    pub special_tokens: BTreeMap<String, String>,
    /// Token ids to append to what the template renders.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub suffix: Vec<u32>,
    /// Whether to append the start of a response to the conversation.
    #[serde(default)]
    pub generation_prompt: bool,
    /// Token ids that end a generated text.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub end_tokens: Vec<u32>,
    /// Sampling parameters that the model's makers recommend.
    #[serde(default, skip_serializing_if = "SamplingDefaults::is_empty")]
    pub sampling: SamplingDefaults,
    /// The control token that ends a step, which assistant turns may spell.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub step_token: Option<String>,
    /// How steps are encoded, if it is one by one. The chat template then renders only what precedes them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub steps: Option<SeparateSteps>,
    /// Whether the tokenizer's map of characters replaces the longest sequences, as SentencePiece does, and not by
    /// grapheme cluster, as the tokenizers crate does.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub longest_match: bool,
    /// Which tokens the text of messages may spell; decided from tokenizer and template if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub control_tokens: Option<ControlTokens>,
    /// The date that the template prints. Without it, templates that know what to print without a date print that.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub template_date: Option<TemplateDate>,
}

/// The fields that identify a manifest of another version, whatever else it has.
#[derive(Deserialize)]
struct Versions {
    format: u32,
    #[serde(default)]
    numerics: u32,
}

/// Version of TensorRT-LLM whose engines this version of Assay builds and serves.
pub const TENSORRT_LLM: &str = "1.2.1";

/// Name of a rank's plan file inside an engine directory for NVIDIA GPUs.
pub fn rank_file(rank: usize) -> String {
    format!("rank{rank}.engine")
}

impl Manifest {
    /// Number of processes that the engine runs as: one for each GPU, or one.
    pub fn ranks(&self) -> usize {
        self.target.ranks()
    }

    /// Whether an engine for the CPU computes logits as a language model does: those of the vocabulary, or of the answers
    /// of a judge. Other heads are computed in f32.
    pub(crate) fn has_lm_head(&self) -> bool {
        self.task.generates() || self.head.judge.is_some()
    }

    /// Number of logits for each position read: the vocabulary's size if the engine generates, or else the
    /// head's outputs.
    pub fn logits(&self) -> usize {
        if self.task.generates() { self.model.vocab_size } else { self.head.outputs() }
    }

    /// Number of values that the engine itself computes for each position read: the vocabulary's logits if
    /// it generates, or else the products of the head's first layers.
    pub fn products(&self) -> usize {
        if self.task.generates() { self.model.vocab_size } else { self.head.products() }
    }

    /// Files that an engine for this target needs.
    pub(crate) fn required_files(&self) -> Vec<String> {
        let mut files = self.target.files();
        files.extend(self.companions().into_iter().map(str::to_owned));
        files
    }

    /// Files that it needs in addition to weights or plans.
    pub(crate) fn companions(&self) -> Vec<&'static str> {
        let head = self.head.has_head_layers().then_some(HEAD_FILE);
        [TOKENIZER_FILE, TEMPLATE_FILE].into_iter().chain(head).collect()
    }

    /// Reads and checks `engine.yaml` of `directory`, but not the files that it lists.
    ///
    /// # Errors
    /// It is missing, malformed or of another [`FORMAT`] or [`NUMERICS`].
    pub fn read(directory: &Path) -> Result<Self, ManifestError> {
        let path = directory.join(MANIFEST_FILE);
        let text = read_plain_text(&path, LARGEST_MANIFEST)
            .map_err(|source| ManifestError::Unreadable { path: path.clone(), source })?;
        Self::parse(&text).map_err(|source| {
            if source.is_later() {
                ManifestError::Later { path, source }
            } else {
                ManifestError::Invalid { path, source }
            }
        })
    }

    /// Parses the text of a manifest.
    ///
    /// # Errors
    /// See [`InvalidManifest`].
    pub(crate) fn parse(text: &str) -> Result<Self, InvalidManifest> {
        // The versions come first: a manifest of another version would fail at some arbitrary field.
        if let Ok(Versions { format, numerics }) = serde_saphyr::from_str(text) {
            if format != FORMAT {
                return Err(InvalidManifest::Format(format));
            }
            if numerics != NUMERICS {
                return Err(InvalidManifest::Numerics(numerics));
            }
        }
        let manifest =
            serde_saphyr::from_str(text).map_err(|error| InvalidManifest::Yaml(Box::new(error)))?;
        bounds::check(&manifest)?;
        Ok(manifest)
    }
}
