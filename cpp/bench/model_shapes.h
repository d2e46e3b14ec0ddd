// The layers of one published model of each family, and how many it has.
#pragma once

#include <cmath>
#include <string>
#include <vector>

#include "cpu/config.h"

namespace assay::bench {

using namespace assay::cpu;

struct ModelShape {
    const char* name;
    std::size_t layers;  // of the published model
    std::size_t hidden_size;
    HeadShape heads;
    std::size_t intermediate_size;
    // How the family's layers differ from Llama's.
    void (*change)(ModelConfig&) = [](ModelConfig&) {};
};

inline void layer_norms_and_biases(ModelConfig& config) {
    config.norms.layer_norm = true;
    config.attention.qkv_bias = config.attention.output_bias = config.feed_forward.bias = true;
}

inline void gemma(ModelConfig& config) {
    config.norms.post_norms = true;
    config.feed_forward.activation = Activation::GeluTanh;
}

inline void rotated_in_part(ModelConfig& config, std::size_t pairs) {
    config.attention.rope.inverse_frequencies.resize(pairs);
    config.attention.window_rope.inverse_frequencies.resize(pairs);
}

// Sizes of the model on the hub that the comment names.
inline const std::vector<ModelShape>& model_shapes() {
    static const std::vector<ModelShape> shapes = {
        // Qwen2.5 0.5B
        {"qwen2", 24, 896, {14, 2, 64}, 4864, [](auto& config) { config.attention.qkv_bias = true; }},
        // Qwen3 0.6B
        {"qwen3",
         28,
         1024,
         {16, 8, 128},
         3072,
         [](auto& config) { config.attention.qk_norm = QkNormSpan::EachHead; }},
        // Llama 3.2 1B
        {"llama", 16, 2048, {32, 8, 64}, 8192},
        // Gemma 2 2B
        {"gemma2",
         26,
         2304,
         {8, 4, 256},
         9216,
         [](auto& config) {
             gemma(config);
             config.attention.softcap = 50.0f;
         }},
        // Gemma 3 1B
        {"gemma3",
         26,
         1152,
         {4, 1, 256},
         6912,
         [](auto& config) {
             gemma(config);
             config.attention.qk_norm = QkNormSpan::EachHead;
         }},
        // Nemotron-Mini 4B
        {"nemotron",
         32,
         3072,
         {24, 8, 128},
         9216,
         [](auto& config) {
             config.norms.layer_norm = true;
             config.feed_forward.activation = Activation::Relu2;
             rotated_in_part(config, 32);
         }},
        // Phi-3 mini
        {"phi3", 32, 3072, {32, 32, 96}, 8192},
        // OLMo 2 1B
        {"olmo2",
         16,
         2048,
         {16, 16, 128},
         8192,
         [](auto& config) {
             config.norms.pre_norms = false;
             config.norms.post_norms = true;
             config.attention.qk_norm = QkNormSpan::AllHeads;
         }},
        // GLM-Edge 1.5B
        {"glm", 28, 2048, {16, 4, 128}, 6144, [](auto& config) { rotated_in_part(config, 32); }},
        // Granite 3.1 2B
        {"granite", 40, 2048, {32, 8, 64}, 8192, [](auto& config) { config.residual.scale = 0.22f; }},
        // Command R7B
        {"cohere2",
         32,
         4096,
         {32, 8, 128},
         14336,
         [](auto& config) {
             config.norms.layer_norm = true;
             config.residual.parallel = true;
         }},
        // Pythia 1.4B
        {"gpt_neox",
         24,
         2048,
         {16, 16, 128},
         8192,
         [](auto& config) {
             layer_norms_and_biases(config);
             config.residual.parallel = true;
             config.feed_forward.activation = Activation::Gelu;
             rotated_in_part(config, 16);
         }},
        // GPT-2 large
        {"gpt2",
         36,
         1280,
         {20, 20, 64},
         5120,
         [](auto& config) {
             layer_norms_and_biases(config);
             config.feed_forward.activation = Activation::PlainGeluTanh;
             rotated_in_part(config, 0);
             config.positions = {.rows = 1024};
         }},
        // Qwen3 30B-A3B with half of its experts
        {"qwen3_moe",
         48,
         2048,
         {32, 4, 128},
         6144,
         [](auto& config) {
             config.attention.qk_norm = QkNormSpan::EachHead;
             config.feed_forward.experts = {
                 .count = 64, .active = 8, .intermediate_size = 768, .normalized = true};
             for (std::size_t layer = 0; layer < config.num_layers; ++layer)
                 config.feed_forward.experts.layers.push_back(layer);
         }},
    };
    return shapes;
}

inline ModelConfig config_of(const ModelShape& shape, Dtype dtype, std::size_t layers) {
    Rope rope{.inverse_frequencies = {}, .factor = 1.0f};
    const auto pairs = static_cast<float>(shape.heads.head_dim) / 2.0f;
    for (std::size_t i = 0; i < shape.heads.head_dim / 2; ++i)
        rope.inverse_frequencies.push_back(std::pow(1e6f, -static_cast<float>(i) / pairs));
    ModelConfig config = {
        .dtype = dtype,
        .vocab_size = 1024,
        .hidden_size = shape.hidden_size,
        .num_layers = layers,
        .embedding_scale = 1.0f,
        .norms = {.eps = 1e-6f, .layer_norm = false, .pre_norms = true, .post_norms = false},
        .attention = {.heads = shape.heads,
                      .qkv_bias = false,
                      .output_bias = false,
                      .qk_norm = QkNormSpan::None,
                      .scale = std::pow(static_cast<float>(shape.heads.head_dim), -0.5f),
                      .softcap = 0.0f,
                      .windows = std::vector<std::size_t>(layers),
                      .rope = rope,
                      .window_rope = rope},
        .feed_forward = {.intermediate_size = shape.intermediate_size,
                         .activation = Activation::Silu,
                         .bias = false},
        .head = {.rows = 1, .vocabulary = false, .softcap = 0.0f},
    };
    shape.change(config);
    return config;
}

}  // namespace assay::bench
