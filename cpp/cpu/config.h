// What a model computes and the sizes it runs at.
#pragma once

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
};

// What one RMS norm of a token's queries, or of its keys, goes over before they are rotated.
enum class QkNormSpan { None, EachHead, AllHeads };

struct AttentionConfig {
    HeadShape heads;
    bool qkv_bias;
    bool output_bias;
    QkNormSpan qk_norm;
    // Factor on the scores.
    float scale;
    // Cap on the scores, see AttentionTile. 0: no cap.
    float softcap;
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
    // Width of another expert, which every token goes through. 0: none.
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
    // The matrix is the language model's `lm_head` instead, packed, with a row for each token.
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
};

struct RunLimits {
    std::size_t threads;  // 0: one for each core
    std::size_t max_num_tokens;
    std::size_t kv_blocks;
};

// Throws EngineError if the engine cannot compute such a model.
void check(const ModelConfig& config, const RunLimits& limits);

}  // namespace assay::cpu
