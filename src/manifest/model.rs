//! The model's part of the manifest: the numbers in which models differ.

use serde::{Deserialize, Serialize};

/// A decoder, or an encoder if its variant says so. One implementation of each, configured by these numbers, computes
/// every family.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Model {
    /// Name of the model, unless the server's options set another.
    pub name: String,
    /// Architecture in the checkpoint's config.json, for example `LlamaForSequenceClassification`.
    pub architecture: String,
    /// Family of the checkpoint, as `build-engine` names it. The engine does not depend on it.
    pub family: String,
    /// Rows of the embedding.
    pub vocab_size: usize,
    /// Width of the residual stream.
    pub hidden_size: usize,
    /// Width of the feed-forward network.
    pub intermediate_size: usize,
    /// Number of layers.
    pub num_layers: usize,
    /// Number of query heads.
    pub num_heads: usize,
    /// Number of key and value heads; divides `num_heads`.
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
    /// How the decoder differs from Llama's.
    #[serde(default)]
    pub variant: Variant,
}

/// How a decoder differs from Llama's; by default not at all.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Variant {
    /// Kind of the norms.
    pub norm: Norm,
    /// Norms of queries and keys before they are rotated.
    pub qk_norm: QkNorm,
    /// Whether there is a norm over the inputs of attention and feed-forward network.
    pub pre_norms: bool,
    /// Whether there is a norm over the outputs of attention and feed-forward network, before they are added to the
    /// residual stream.
    pub post_norms: bool,
    /// Activation between the projections of the feed-forward network.
    pub activation: Activation,
    /// Factor on the embedding.
    pub embedding_scale: f32,
    /// Factor on attention scores; `None` for `head_dim^-0.5`.
    pub attention_scale: Option<f32>,
    /// How queries grow with their position; `None` if they do not.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub query_growth: Option<QueryGrowth>,
    /// Cap on attention scores, which become `cap * tanh(score / cap)`.
    pub attention_softcap: Option<f32>,
    /// Width of the rotated part at the start of each head; `None` for all of it, 0 for nothing.
    pub rotary_dim: Option<usize>,
    /// Layers whose queries see only the newest keys.
    pub sliding_window: Option<SlidingWindow>,
    /// Whether the feed-forward network reads what the attention reads, and not its output.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub parallel_residual: bool,
    /// Factor on the outputs of attention and feed-forward network; `None` for 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub residual_scale: Option<f32>,
    /// Experts that replace the feed-forward network.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub experts: Option<Experts>,
    /// Embeddings of positions, which are added to those of tokens.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub positions: Option<LearnedPositions>,
    /// What makes the model an encoder, whose tokens see the whole text.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bidirectional: Option<Bidirectional>,
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
            query_growth: None,
            attention_softcap: None,
            rotary_dim: None,
            sliding_window: None,
            parallel_residual: false,
            residual_scale: None,
            experts: None,
            positions: None,
            bidirectional: None,
        }
    }
}

/// Kind of a norm. For families that add 1 to the stored weights, the engine's weights include it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Norm {
    /// Root mean square.
    Rms,
    /// Mean and standard deviation, with a bias.
    Layer,
}

/// What one norm of a token's queries, or of its keys, goes over.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum QkNorm {
    /// There is no such norm.
    None,
    /// Each head by itself, all with the same weights.
    EachHead,
    /// All heads together.
    AllHeads,
    /// Each head by itself, with weights of its own. These are layer norms.
    OwnHead,
}

/// What a feed-forward network does between its projections.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Activation {
    /// `silu(gate) * up`.
    Silu,
    /// `gelu(gate) * up`, with the tanh approximation.
    GeluTanh,
    /// `relu(up)^2`, without a gate.
    Relu2,
    /// `gelu(up)` without an approximation, and without a gate.
    Gelu,
    /// `gelu(gate) * up`, without an approximation.
    GatedGelu,
    /// `gelu(up)` with the tanh approximation, and without a gate.
    PlainGeluTanh,
}

impl Activation {
    /// Whether the network has a gate projection.
    pub fn gated(self) -> bool {
        matches!(self, Self::Silu | Self::GeluTanh | Self::GatedGelu)
    }
}

/// Feed-forward networks of which each token goes through a few, chosen by a router.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Experts {
    /// Experts of a layer.
    pub count: usize,
    /// Experts that a token goes through.
    pub active: usize,
    /// Width of one expert.
    pub intermediate_size: usize,
    /// Whether the weights of a token's experts sum to 1; if not, they are their shares of all experts.
    pub normalized: bool,
    /// Indices of the layers that have experts, ascending.
    pub layers: Vec<usize>,
    /// Another expert, which every token goes through.
    pub shared: Option<SharedExpert>,
}

/// An expert that every token goes through, weighted by a gate of its own.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SharedExpert {
    /// Its width.
    pub intermediate_size: usize,
}

impl Experts {
    /// Rows of the router's matrix: one for each expert, and one for the gate of the shared expert.
    pub fn router_rows(&self) -> usize {
        self.count + usize::from(self.shared.is_some())
    }
}

/// Queries are multiplied by `1 + beta * ln(1 + floor(position / length))`.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct QueryGrowth {
    /// How fast they grow.
    pub beta: f32,
    /// Positions with the same factor; for the first of them it is 1.
    pub length: usize,
}

/// Embeddings of positions in a text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LearnedPositions {
    /// Rows of the embedding.
    pub rows: usize,
    /// The row of the first token.
    pub first: usize,
    /// Id of the padding token, which is not counted: it has the row before the first. `None` if all tokens count.
    pub padding: Option<u32>,
}

/// What makes a model an encoder: its tokens see the whole text, so that texts share no prefix. Its embeddings are normed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Bidirectional {
    /// Whether the residual stream is normed after the outputs of attention and feed-forward network were added to it, as
    /// in BERT.
    pub sum_norms: bool,
    /// Whether there is a norm after the last layer.
    pub final_norm: bool,
    /// Embeddings of two segments, which are added to those of tokens.
    pub segments: Option<Segments>,
    /// Embeddings of relative positions in the attention.
    pub relative: Option<RelativePositions>,
}

/// Embeddings of a text's first and second segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Segments {
    /// Rows of the embedding; only the first two are used.
    pub rows: usize,
    /// Id of the token that separates segments: the second one starts after the first of them. `None` if all tokens are of
    /// the first segment.
    pub separator: Option<u32>,
}

/// Embeddings of relative positions, as in DeBERTa (arXiv 2006.03654): attention scores become products of queries and
/// keys, of queries and positions, and of positions and keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RelativePositions {
    /// Half of the rows of the embedding.
    pub span: usize,
    /// From half of this on, several distances share a row, and longer distances share it with more; `None`
    /// if each distance has its own.
    pub buckets: Option<usize>,
    /// Longer distances have the row of this one.
    pub longest: usize,
    /// Whether there is a layer norm over the embedding.
    pub normed: bool,
    /// Whether there are products of queries and positions.
    pub content_to_position: bool,
    /// Whether there are products of positions and keys.
    pub position_to_content: bool,
    /// Whether a layer's projections of queries and keys apply to positions, too.
    pub shared_projections: bool,
}

/// Layers whose queries see only the newest keys, or in an encoder those near their own.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SlidingWindow {
    /// Number of keys that a query sees, including its own; in an encoder half of them are on each side.
    pub keys: usize,
    /// Indices of the layers.
    pub layers: Vec<usize>,
    /// Rotary embedding of these layers, if it differs from the model's.
    pub rope: Option<Rope>,
}

/// Rotary position embedding: in the rotated width `dim`, pairs `(i, i + dim / 2)` are rotated by
/// `position * theta^(-2i / dim)`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rope {
    /// Base of the frequencies.
    pub theta: f64,
    /// Change of the frequencies for long contexts.
    pub scaling: RopeScaling,
}

/// Change of the rotary frequencies, as in transformers' `modeling_rope_utils`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case", deny_unknown_fields)]
pub enum RopeScaling {
    /// None.
    Default,
    /// Nothing is rotated: every frequency is 0.
    Unrotated,
    /// Every frequency divided by `factor`.
    Linear {
        /// At least 1.
        factor: f64,
    },
    /// Llama 3: low frequencies are divided by `factor`, high ones kept, and those between interpolated.
    Llama3 {
        /// At least 1.
        factor: f64,
        /// A frequency with fewer turns than this within the original context is low.
        low_freq_factor: f64,
        /// A frequency with more turns than this is high.
        high_freq_factor: f64,
        /// Context length of the pretraining.
        original_max_position_embeddings: usize,
    },
    /// YaRN (arXiv 2309.00071), used by Qwen2.5's long contexts.
    Yarn {
        /// At least 1.
        factor: f64,
        /// A frequency with more turns than this is kept; 32 by default.
        beta_fast: f64,
        /// A frequency with fewer turns than this is divided by `factor`; 1 by default.
        beta_slow: f64,
        /// Factor on cosine and sine; `0.1 ln(factor) + 1` by default.
        attention_factor: f64,
        /// Context length of the pretraining.
        original_max_position_embeddings: usize,
        /// Whether the bounds between kept and divided frequencies are rounded to integers.
        truncate: bool,
    },
    /// NTK scaling by a text's own length: in a text of more than `max_position_embeddings` tokens, `theta` becomes
    /// `theta * (factor * tokens / max_position_embeddings - (factor - 1))^(dim / (dim - 2))`.
    Dynamic {
        /// At least 1.
        factor: f64,
        /// Length of the longest text without a change.
        max_position_embeddings: usize,
    },
    /// LongRoPE (arXiv 2402.13753), used by Phi-3's long contexts: each frequency is divided by a factor of its own,
    /// and by another one in texts longer than `original_max_position_embeddings`.
    LongRope {
        /// Divisors in short texts, one for each frequency.
        short_factor: Vec<f64>,
        /// Divisors in longer texts.
        long_factor: Vec<f64>,
        /// Factor on cosine and sine.
        attention_factor: f64,
        /// Length of the longest text that is short.
        original_max_position_embeddings: usize,
    },
}

impl RopeScaling {
    /// The length beyond which a text's own length decides how all its tokens are rotated; `None` if it never does.
    pub fn usual_length(&self) -> Option<usize> {
        match *self {
            Self::Default
            | Self::Unrotated
            | Self::Linear { .. }
            | Self::Llama3 { .. }
            | Self::Yarn { .. } => None,
            Self::Dynamic { max_position_embeddings: length, .. }
            | Self::LongRope { original_max_position_embeddings: length, .. } => Some(length),
        }
    }
}
