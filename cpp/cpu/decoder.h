// The decoder: Llama, Qwen2 and what else is made of the same parts.
#pragma once

#include <memory>
#include <vector>

#include "../engine.h"
#include "kernels.h"
#include "weights.h"

namespace assay::cpu {

// The model, as the manifest tells it.
struct ModelConfig {
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
    std::size_t head_rows;
    // Rotary frequencies, [head_dim / 2], and the factor on cosine and sine.
    std::vector<float> inverse_frequencies;
    float rope_factor;
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
