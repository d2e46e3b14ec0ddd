// What a model computes and the sizes it runs at.
#pragma once

#include <optional>
#include <vector>

#include "kernels.h"
#include "rope.h"

namespace assay::cpu {

struct ResidualConfig {
    // The feed-forward network reads what the attention reads, and not its output.
    bool parallel = false;
    // Factor on the outputs of attention and feed-forward network.
    float scale = 1.0f;
};

struct NormConfig {
    float eps;
    // Layer norms with a bias instead of RMS norms.
    bool layer_norm;
    // A norm over the input of attention and of the feed-forward network.
    bool pre_norms;
    // Another norm over the output of attention and of the feed-forward network, before it is added to the
    // residual stream.
    bool post_norms;
    // A norm over the residual stream after each of the two was added to it, as in BERT.
    bool sum_norms = false;
};

// Embeddings of a token's position in its text, which are added to that of the token.
struct PositionsConfig {
    std::size_t rows = 0;  // 0: none
    // The row of the first token.
    std::size_t first = 0;
    // Padding is not counted: it has the row before the first.
    std::optional<std::uint32_t> padding = {};
};

// Maximum number of rows of embeddings of relative positions.
inline constexpr std::size_t kMostRelativeRows = 1 << 16;

// Embeddings of relative positions, see RelativePositions.
struct RelativeConfig {
    std::size_t span = 0;  // half of the rows; 0: none
    // From half of this on, several distances share a row, and longer distances share it with more, up to
    // `longest`. 0: none share rows.
    std::size_t buckets = 0;
    std::size_t longest = 0;
    // There is a layer norm over them.
    bool normed = false;
    // Whether queries have products with them, and keys.
    bool with_queries = false;
    bool with_keys = false;
    // The layers' own projections of queries and keys apply to them.
    bool shared_projections = false;
};

// What makes a model an encoder: its tokens see the whole text.
struct EncoderConfig {
    // Embeddings of segments: the second one is that of tokens after the first separator. 0: none.
    std::size_t segments = 0;
    std::uint32_t separator = 0;
    RelativeConfig relative = {};
    // There is a norm after the last layer.
    bool final_norm = false;
    // The head reads the mean of all tokens.
    bool mean = false;
};

// What one norm of a token's queries, or of its keys, goes over before they are rotated: each head by itself
// or all together, as RMS norms, or each head with weights of its own, as layer norms.
enum class QkNormSpan { None, EachHead, AllHeads, OwnHead };

// Queries are multiplied by 1 + beta * ln(1 + floor(position / length)).
struct QueryGrowth {
    float beta = 0.0f;  // 0: they are not
    std::size_t length = 1;
};

struct AttentionConfig {
    HeadShape heads;
    bool qkv_bias;
    bool output_bias;
    QkNormSpan qk_norm;
    // Factor on the scores.
    float scale;
    // Cap on the scores, see AttentionTile. 0: no cap.
    float softcap;
    QueryGrowth query_growth = {};
    // Keys that each layer's queries see, see AttentionTile. 0: all.
    std::vector<std::size_t> windows;
    Rope rope;
    // For layers with a sliding window.
    Rope window_rope;
};

// Feed-forward networks of which each token goes through a few, chosen by a router.
struct ExpertsConfig {
    std::size_t count = 0;  // 0: none
    std::size_t active = 0;
    std::size_t intermediate_size = 0;
    // The weights of a token's experts sum to 1.
    bool normalized = false;
    // Intermediate size of the shared expert; 0 if there is none.
    std::size_t shared_intermediate_size = 0;
    // Layers that have experts.
    std::vector<std::size_t> layers = {};
};

struct FeedForwardConfig {
    std::size_t intermediate_size;
    Activation activation;
    bool bias;
    ExpertsConfig experts = {};
};

struct HeadConfig {
    // Rows of the matrix: `head`, f32, whose products are finished elsewhere.
    std::size_t rows;
    // The matrix is the language model's `lm_head` instead, packed, with a row for each token or for some.
    bool vocabulary;
    // Caps the language model's logits: cap * tanh(logit / cap). 0: no cap.
    float softcap;
};

struct ModelConfig {
    // Type of the layers' matrices.
    Dtype dtype;
    std::size_t vocab_size;
    std::size_t hidden_size;
    std::size_t num_layers;
    // Factor on embeddings.
    float embedding_scale;
    ResidualConfig residual = {};
    NormConfig norms;
    AttentionConfig attention;
    FeedForwardConfig feed_forward;
    HeadConfig head;
    PositionsConfig positions = {};
    // Without it, the model is a decoder.
    std::optional<EncoderConfig> encoder = {};
};

struct RunLimits {
    std::size_t threads;  // 0: one for each core
    std::size_t max_num_tokens;
    std::size_t kv_blocks;
};

// Whether activations around weights of a type are in f32 on this processor: otherwise they are in bfloat16,
// its best format. Throws EngineError if the processor does not compute in the type.
bool computes_in_f32(Dtype dtype);

// Throws EngineError if the engine cannot compute such a model.
void check(const ModelConfig& config, const RunLimits& limits);

}  // namespace assay::cpu
