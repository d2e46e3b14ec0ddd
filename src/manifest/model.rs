//! The decoder's part of the manifest: what sets one model's layers apart from another's, in numbers.

use serde::{Deserialize, Serialize};

/// A decoder told by its numbers; one kind of decoder serves every family here.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Model {
    /// Name under which it is served unless the server says otherwise.
    pub name: String,
    /// The checkpoint's own word, for example `LlamaForSequenceClassification`.
    pub architecture: String,
    /// The family in whose layout the checkpoint was, as `build-engine` names it. Engines do not depend on it.
    pub family: String,
    /// Rows of the embedding.
    pub vocab_size: usize,
    /// Width of the residual stream.
    pub hidden_size: usize,
    /// Width of the feed-forward network.
    pub intermediate_size: usize,
    /// Decoder layers.
    pub num_layers: usize,
    /// Query heads.
    pub num_heads: usize,
    /// Key and value heads; divides `num_heads`.
    pub num_kv_heads: usize,
    /// Width of one head.
    pub head_dim: usize,
    /// Epsilon of every norm.
    pub norm_eps: f32,
    /// Whether the query, key and value projections have a bias.
    pub qkv_bias: bool,
    /// Whether the attention's output projection has a bias.
    pub output_bias: bool,
    /// Whether the feed-forward projections have a bias.
    pub mlp_bias: bool,
    /// Rotary position embedding.
    pub rope: Rope,
    /// Where the decoder is made otherwise than Llama's.
    #[serde(default)]
    pub variant: Variant,
}

/// What sets a family's decoder apart; by default nothing.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Variant {
    /// Kind of its norms.
    pub norm: Norm,
    /// RMS norms of queries and keys before they are rotated.
    pub qk_norm: QkNorm,
    /// Whether there is a norm over the inputs of attention and feed-forward network.
    pub pre_norms: bool,
    /// Whether there is a norm over the outputs of attention and feed-forward network, before they are added to the
    /// residual stream.
    pub post_norms: bool,
    /// What the feed-forward network does between its projections.
    pub activation: Activation,
    /// Factor on the embedding.
    pub embedding_scale: f32,
    /// Factor on the attention's scores; `head_dim^-0.5` unless given.
    pub attention_scale: Option<f32>,
    /// Scores of the attention become `cap * tanh(score / cap)`.
    pub attention_softcap: Option<f32>,
    /// Width of each head, from its beginning, that is rotated; all unless given.
    pub rotary_dim: Option<usize>,
    /// Layers whose queries see the newest keys only.
    pub sliding_window: Option<SlidingWindow>,
}

impl Default for Variant {
    fn default() -> Self {
        Self {
            norm: Norm::Rms,
            qk_norm: QkNorm::None,
            pre_norms: true,
            post_norms: false,
            activation: Activation::Silu,
            embedding_scale: 1.0,
            attention_scale: None,
            attention_softcap: None,
            rotary_dim: None,
            sliding_window: None,
        }
    }
}

/// Kinds of norms. Where a family adds one to the stored weights, the engine's have it added.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Norm {
    /// Root of the mean square.
    Rms,
    /// Mean and deviation, with a bias.
    Layer,
}

/// What one RMS norm of a token's queries, or of its keys, goes over.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum QkNorm {
    /// There is no such norm.
    None,
    /// Each head by itself, all with the same weights.
    EachHead,
    /// All heads together.
    AllHeads,
}

/// What a feed-forward network does between its projections.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Activation {
    /// `silu(gate) * up`.
    Silu,
    /// `gelu(gate) * up`, by the approximation with a tangent.
    GeluTanh,
    /// `relu(up)^2`, without a gate.
    Relu2,
}

impl Activation {
    /// Whether the network has a gate beside its first projection.
    pub fn gated(self) -> bool {
        self != Self::Relu2
    }
}

/// Layers whose queries see the newest keys only.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SlidingWindow {
    /// Keys that a query sees, its own included.
    pub keys: usize,
    /// Which layers have it, from 0.
    pub layers: Vec<usize>,
    /// Their rotary embedding, where it is another than the model's.
    pub rope: Option<Rope>,
}

/// Rotary position embedding: of the rotated width `dim`, pairs `(i, i + dim / 2)` are rotated by
/// `position * theta^(-2i / dim)`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rope {
    /// Base of the frequencies.
    pub theta: f64,
    /// How the frequencies are changed for long contexts.
    pub scaling: RopeScaling,
}

/// Changes to the rotary frequencies, as transformers' `modeling_rope_utils` defines them.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case", deny_unknown_fields)]
pub enum RopeScaling {
    /// None.
    Default,
    /// Every frequency divided by `factor`.
    Linear {
        /// At least 1.
        factor: f64,
    },
    /// Llama 3: low frequencies divided by `factor`, high ones kept, those between blended.
    Llama3 {
        /// At least 1.
        factor: f64,
        /// Below this many turns within the original context a frequency counts as low.
        low_freq_factor: f64,
        /// Above this many it counts as high.
        high_freq_factor: f64,
        /// Context that the model was first trained on.
        original_max_position_embeddings: usize,
    },
    /// YaRN (arXiv 2309.00071), used by Qwen2.5's long contexts.
    Yarn {
        /// At least 1.
        factor: f64,
        /// Turns above which a frequency is kept; 32 unless the checkpoint says otherwise.
        beta_fast: f64,
        /// Turns below which a frequency is divided by `factor`; 1 unless it says otherwise.
        beta_slow: f64,
        /// Factor on cosine and sine; `0.1 ln(factor) + 1` unless it says otherwise.
        attention_factor: f64,
        /// Context that the model was first trained on.
        original_max_position_embeddings: usize,
        /// Whether the bounds between kept and divided frequencies are rounded to whole ones.
        truncate: bool,
    },
}
