// The decoder: every family, told by its numbers.
#pragma once

#include <memory>
#include <vector>

#include "../engine.h"
#include "kernels.h"
#include "weights.h"

namespace assay::cpu {

// Rotary frequencies, one for each pair of turned numbers, and the factor on cosine and sine.
struct Rope {
    std::vector<float> inverse_frequencies;
    float factor;
};

// The model, as the manifest tells it.
struct ModelConfig {
    // Of the layers' matrices.
    Dtype dtype;
    std::size_t vocab_size;
    std::size_t hidden_size;
    std::size_t intermediate_size;
    std::size_t num_layers;
    HeadShape heads;
    float norm_eps;
    bool qkv_bias;
    bool output_bias;
    bool mlp_bias;
    // Whether norms are layer norms, with a bias.
    bool layer_norm;
    // Whether each head's queries and keys are normed.
    bool qk_norm;
    // Whether what attention and feed-forward network add is normed.
    bool post_norms;
    Activation activation;
    float embedding_scale;
    float attention_scale;
    // See AttentionTile.
    float attention_softcap;
    // Of each layer, see AttentionTile.
    std::vector<std::size_t> windows;
    // Rows of the head's matrix, `head`, f32. What follows its products is not this engine's.
    std::size_t head_rows;
    // Whether the matrix is the language model's instead: `lm_head`, packed, a row for each token.
    bool lm_head;
    // Caps the language model's logits: cap * tanh(logit / cap). 0: no cap.
    float logit_softcap;
    Rope rope;
    // Of layers with a window.
    Rope window_rope;
};

// Sizes of what is allocated.
struct RunLimits {
    std::size_t threads;  // 0: one for each core
    std::size_t max_num_tokens;
    std::size_t kv_blocks;
};

// A decoder on `weights`, whose memory outlives it. Throws EngineError when it cannot be.
std::unique_ptr<Engine> make_decoder(const ModelConfig& config, const RunLimits& limits,
                                     const Weights& weights);

}  // namespace assay::cpu
