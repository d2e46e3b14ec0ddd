//! What a family is described by.

use serde_json::{Map, Value};

use super::encoders::{EncoderSpec, PositionsSpec};
use super::experts::ExpertsSpec;
use super::rope::{self, RopeDefaults, Ropes};
use crate::builder::BuildError;
use crate::builder::json::Object;
use crate::manifest::{Activation, Model, Norm, QkNorm};

/// A family of decoders or encoders: how to read its `config.json` and where its tensors are.
///
/// Fields and defaults are those of the family's configuration in transformers; for a family that transformers
/// does not have, those of its published one.
pub(crate) struct FamilySpec {
    /// Its name in manifests.
    pub(crate) name: &'static str,
    /// Its name in messages.
    pub(crate) title: &'static str,
    /// What the names of its architectures start with: `Qwen2` of `Qwen2ForCausalLM`. The classifier of a text part
    /// may have `Text` between this and the rest.
    pub(crate) architecture: &'static str,
    pub(crate) model_type: &'static str,
    /// Whether transformers has its classes. If not, they come with the checkpoint, so a name such as
    /// `...ForSequenceClassification` does not say where the head is.
    pub(crate) in_transformers: bool,
    pub(crate) defaults: Defaults,
    pub(crate) biases: Biases,
    pub(crate) rotary: Rotary,
    pub(crate) attention: Attention,
    /// Which layers have a sliding window; `None` if the family has no windows.
    pub(crate) windows: Option<Windows>,
    pub(crate) norms: Norms,
    /// The experts that replace feed-forward networks, if the family has them.
    pub(crate) experts: Option<ExpertsSpec>,
    pub(crate) parallel_residual: ParallelResidual,
    pub(crate) multipliers: Multipliers,
    /// Fields that have names of their own in this family, and the common names.
    pub(crate) aliases: &'static [(&'static str, &'static str)],
    /// Fields of other families that have no effect in this one, as in transformers.
    pub(crate) ignored: &'static [&'static str],
    pub(crate) activation: ActivationSpec,
    /// Whether the embedding is multiplied by the square root of its width.
    pub(crate) scaled_embedding: bool,
    /// Cap on the logits of the vocabulary.
    pub(crate) final_softcap: Option<Softcap>,
    pub(crate) tensors: TensorNames,
    /// Embeddings of positions, if the family has them.
    pub(crate) positions: Option<PositionsSpec>,
    /// The description of an encoder; `None` for decoders.
    pub(crate) encoder: Option<EncoderSpec>,
    /// Its form in TensorRT-LLM 1.2.1, or why it has none there: the end of a sentence.
    pub(crate) trtllm: Result<TrtllmSpec, &'static str>,
}

impl FamilySpec {
    /// What most families share. A family of its own sets the names and the defaults, and TensorRT-LLM's form if that
    /// has the family.
    pub(crate) const COMMON: Self = Self {
        name: "",
        title: "",
        architecture: "",
        model_type: "",
        in_transformers: true,
        defaults: Defaults::NONE,
        biases: Biases::NONE,
        rotary: Rotary::WHOLE,
        attention: Attention::PLAIN,
        windows: None,
        norms: Norms::RMS,
        experts: None,
        parallel_residual: ParallelResidual::Never,
        multipliers: Multipliers::NONE,
        aliases: &[],
        ignored: &[],
        activation: ActivationSpec::SILU,
        scaled_embedding: false,
        final_softcap: None,
        tensors: TensorNames::COMMON,
        positions: None,
        encoder: None,
        trtllm: Err(TrtllmSpec::NO_CLASS),
    };
}

/// Values of fields that `config.json` may leave out.
pub(crate) struct Defaults {
    pub(crate) max_position_embeddings: usize,
    /// `None`: the width divided by the number of query heads.
    pub(crate) head_dim: Option<usize>,
    /// `None`: as many as query heads.
    pub(crate) num_kv_heads: Option<usize>,
    /// Left out only by models of images and text, whose text part has its settings in a section of its own.
    pub(crate) vocab_size: Option<usize>,
    /// As `vocab_size`.
    pub(crate) num_heads: Option<usize>,
    pub(crate) tied_embeddings: bool,
}

impl Defaults {
    pub(crate) const NONE: Self = Self {
        max_position_embeddings: 2048,
        head_dim: None,
        num_kv_heads: None,
        vocab_size: None,
        num_heads: None,
        tied_embeddings: false,
    };
}

/// Whether a linear layer has a bias.
#[derive(Clone, Copy)]
pub(crate) enum Bias {
    Absent,
    Present,
    /// If this field of `config.json` is true.
    If(&'static str),
    /// Unless this field of `config.json` is false.
    Unless(&'static str),
}

pub(crate) struct Biases {
    /// The query, key and value projections.
    pub(crate) qkv: Bias,
    /// The output projection of the attention.
    pub(crate) output: Bias,
    /// The feed-forward network.
    pub(crate) mlp: Bias,
}

impl Biases {
    pub(crate) const NONE: Self = Self { qkv: Bias::Absent, output: Bias::Absent, mlp: Bias::Absent };
}

/// Whether the feed-forward network reads what the attention reads, and not its output.
pub(crate) enum ParallelResidual {
    Never,
    Always,
    /// Unless this field of `config.json` is false.
    Unless(&'static str),
}

/// Fields of `config.json` with factors, which are 1 if they are absent.
pub(crate) struct Multipliers {
    pub(crate) embedding: Option<&'static str>,
    /// On the attention scores, in place of the inverse root of a head's width.
    pub(crate) attention: Option<&'static str>,
    /// On the outputs of attention and feed-forward network.
    pub(crate) residual: Option<&'static str>,
    pub(crate) logits: Option<LogitScale>,
}

impl Multipliers {
    pub(crate) const NONE: Self = Self { embedding: None, attention: None, residual: None, logits: None };
}

/// A factor on the logits of the vocabulary.
#[derive(Clone, Copy)]
pub(crate) struct LogitScale {
    pub(crate) field: &'static str,
    pub(crate) default: f32,
    /// Whether logits are divided by it.
    pub(crate) divides: bool,
}

pub(crate) struct Rotary {
    /// Fraction of each head that is rotated unless `partial_rotary_factor` says otherwise; `None` if the
    /// family always rotates whole heads, 0 if it never rotates.
    pub(crate) partial: Option<f64>,
    /// Whether neighbours in a head are rotated together, and not numbers of its two halves.
    pub(crate) interleaved: bool,
    /// Base of the frequencies unless the checkpoint sets one.
    pub(crate) theta: f64,
    /// Field of the section about the embedding that says how fast queries grow, if the family has it.
    pub(crate) query_growth: Option<&'static str>,
    /// Reads the embeddings; adds what the user should know to the notes.
    pub(crate) read: fn(&Object, &RopeDefaults, &mut Vec<String>) -> Result<Ropes, BuildError>,
}

impl Rotary {
    /// Whole heads with Llama's base, which most families share.
    pub(crate) const WHOLE: Self =
        Self { partial: None, interleaved: false, theta: 10_000.0, query_growth: None, read: rope::read };
}

pub(crate) struct Attention {
    /// Default of `query_pre_attn_scalar`, whose inverse square root scales the scores; `None` if the width of a
    /// head takes its place.
    pub(crate) query_scalar: Option<f32>,
    /// Cap on the scores. A family without one ignores [`ATTENTION_CAP`], as in transformers.
    pub(crate) softcap: Option<Softcap>,
}

/// The field with a cap on the scores of attention.
pub(crate) const ATTENTION_CAP: &str = "attn_logit_softcapping";

impl Attention {
    /// Scores scaled by the width of a head, without a cap.
    pub(crate) const PLAIN: Self = Self { query_scalar: None, softcap: None };
}

/// A cap: `x` becomes `cap * tanh(x / cap)`.
#[derive(Clone, Copy)]
pub(crate) struct Softcap {
    pub(crate) field: &'static str,
    /// The cap if the field is absent. A field that is null means no cap.
    pub(crate) default: Option<f32>,
}

pub(crate) struct Windows {
    /// Keys of a window if `sliding_window` is absent. A field that is null means no window.
    pub(crate) default_keys: Option<usize>,
    pub(crate) layers: WindowedLayers,
}

/// Finds the layers that have a window, in ascending order.
pub(crate) type WindowedLayers = fn(&Object, &WindowFields) -> Result<Vec<usize>, BuildError>;

/// The fields about windows that configurations of all families have.
pub(crate) struct WindowFields {
    /// Whether `sliding_window` gives a number of keys, or the family has a default. The number is read only
    /// if a layer has a window: transformers writes 0 where none has.
    pub(crate) has_keys: bool,
    /// Layers whose `layer_types` entry is `sliding_attention`; `None` if there is no such field. Families whose layers
    /// are all alike ignore it, as they do in transformers.
    pub(crate) listed: Option<Vec<usize>>,
    pub(crate) num_layers: usize,
}

pub(crate) struct Norms {
    pub(crate) kind: Norm,
    /// Whether layer norms have a bias.
    pub(crate) bias: bool,
    pub(crate) eps_field: &'static str,
    pub(crate) default_eps: f32,
    /// What is added to stored weights: 1 in families whose weights count from 1.
    pub(crate) weight_offset: f32,
    /// Names of the norms before attention and feed-forward network, if the family has them.
    pub(crate) inputs: Option<[&'static str; 2]>,
    /// Names of the norms after attention and feed-forward network, before the residual is added, if the family has
    /// them.
    pub(crate) outputs: Option<[&'static str; 2]>,
    /// Norms of queries and keys, `self_attn.q_norm` and `self_attn.k_norm`.
    pub(crate) queries_and_keys: QkNorm,
    /// A model has norms of queries and keys only if this field of `config.json` is true.
    pub(crate) queries_and_keys_if: Option<&'static str>,
}

impl Norms {
    /// Llama's, which most families share.
    pub(crate) const RMS: Self = Self {
        kind: Norm::Rms,
        bias: false,
        eps_field: "rms_norm_eps",
        default_eps: 1e-6,
        weight_offset: 0.0,
        inputs: Some(["input_layernorm", "post_attention_layernorm"]),
        outputs: None,
        queries_and_keys: QkNorm::None,
        queries_and_keys_if: None,
    };
}

pub(crate) struct ActivationSpec {
    /// The field that names it.
    pub(crate) field: &'static str,
    /// The one that is supported, by one of its names.
    pub(crate) name: &'static str,
    pub(crate) activation: Activation,
}

impl ActivationSpec {
    pub(crate) const SILU: Self = Self { field: "hidden_act", name: "silu", activation: Activation::Silu };
    /// Without a gate.
    pub(crate) const GELU: Self = Self { field: "hidden_act", name: "gelu", activation: Activation::Gelu };
    pub(crate) const GELU_TANH: Self =
        Self { field: "hidden_activation", name: "gelu_pytorch_tanh", activation: Activation::GeluTanh };
}

/// Names of tensors; those of a layer without what they start with, and all linear layers and norms without `.weight`.
pub(crate) struct TensorNames {
    pub(crate) embedding: &'static str,
    pub(crate) lm_head: &'static str,
    pub(crate) final_norm: &'static str,
    /// What the names of a layer's tensors start with, followed by its number.
    pub(crate) layers: &'static str,
    pub(crate) qkv: Qkv,
    pub(crate) attention_output: &'static str,
    pub(crate) gate_up: GateUp,
    pub(crate) down: &'static str,
    /// Whether matrices of layers are stored as `[inputs, outputs]`.
    pub(crate) transposed: bool,
}

impl TensorNames {
    /// The names that most families share.
    pub(crate) const COMMON: Self = Self {
        embedding: "model.embed_tokens.weight",
        lm_head: "lm_head.weight",
        final_norm: "model.norm",
        layers: "model.layers",
        qkv: Qkv::Separate(["self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"]),
        attention_output: "self_attn.o_proj",
        gate_up: GateUp::Separate(["mlp.gate_proj", "mlp.up_proj"]),
        down: "mlp.down_proj",
        transposed: false,
    };

    /// Whether the matrix `name` is stored as `[inputs, outputs]`.
    pub(crate) fn are_inputs_by_outputs(&self, name: &str) -> bool {
        self.transposed && name.strip_prefix(self.layers).is_some_and(|rest| rest.starts_with('.'))
    }
}

/// Where the query, key and value projections are.
pub(crate) enum Qkv {
    Separate([&'static str; 3]),
    /// One matrix: all queries, then all keys, then all values.
    Fused(&'static str),
    /// One matrix: for each key-value head its queries, its key and its value.
    FusedByKvHead(&'static str),
}

/// Where the first projections of the feed-forward network are.
pub(crate) enum GateUp {
    /// Without a gate only the second is there.
    Separate([&'static str; 2]),
    /// One matrix: the gate, then the other projection.
    Fused(&'static str),
}

/// A family in TensorRT-LLM 1.2.1.
pub(crate) struct TrtllmSpec {
    /// The architecture whose layers are the family's.
    pub(crate) architecture: &'static str,
    /// Another name of the same classes, which NVIDIA's exporter may write.
    pub(crate) exported_as: Option<&'static str>,
    /// Whether all its layers, norms included, are built from Llama's classes.
    pub(crate) llama_classes: bool,
    /// Whether its classes quantize to fp8 without calibrated scales.
    pub(crate) fp8: bool,
    /// Whether its layers can be divided into pipeline stages.
    pub(crate) stages: bool,
    /// Whether the ranks of a stage always divide the embedding.
    pub(crate) divided_embedding: bool,
    /// Whether `mlp.fc` holds both projections, the gate last.
    pub(crate) fused_gate: bool,
    /// How its tokens get their positions (`position_embedding_type`).
    pub(crate) positions: &'static str,
    /// Name of the norm before the feed-forward network; `None` if that reads the norm before the attention.
    pub(crate) mlp_norm: Option<&'static str>,
    /// The form with a head of any number of rows, if there is one.
    pub(crate) small_head: Option<SmallHead>,
    /// Fields of `config.json` in addition to those of all families.
    pub(crate) fields: TrtllmFields,
    /// What the model has that the family's classes cannot express.
    pub(crate) lacks: fn(&Model) -> Option<&'static str>,
}

impl TrtllmSpec {
    /// Why most families without a form have none.
    pub(crate) const NO_CLASS: &'static str = "it has no class that computes these layers";

    /// What most forms share. A form of its own sets the architecture and the fields.
    pub(crate) const COMMON: Self = Self {
        architecture: "",
        exported_as: None,
        llama_classes: false,
        fp8: false,
        stages: true,
        divided_embedding: false,
        fused_gate: false,
        positions: "rope_gpt_neox",
        mlp_norm: Some("post_layernorm"),
        small_head: None,
        fields: |_, _| Ok(Map::new()),
        lacks: |_| None,
    };
}

/// The fields of a family's `config.json`, given the model and the cap on the vocabulary's logits.
pub(crate) type TrtllmFields = fn(&Model, Option<f32>) -> Result<Map<String, Value>, BuildError>;

/// How a family is written as the one TensorRT-LLM model with a head of any number of rows,
/// `Qwen2ForSequenceClassification`.
pub(crate) struct SmallHead {
    pub(crate) fields: TrtllmFields,
    /// Whether its layers may have biases.
    pub(crate) biases: bool,
}
