// Small decoders that differ in what a layer computes, and the sizes that tests run them at.
#pragma once

#include "cpu/config.h"

namespace assay::test {

using namespace assay::cpu;

inline constexpr std::size_t kVocabulary = 64, kHidden = 32, kFfn = 48, kBlocks = 8, kMaxTokens = 40;

inline ModelConfig plain() {
    const Rope rope{.inverse_frequencies = {1.0f, 0.1f, 0.01f, 0.001f}, .factor = 1.0f};
    return {
        .dtype = Dtype::F32,
        .vocab_size = kVocabulary,
        .hidden_size = kHidden,
        .num_layers = 2,
        .embedding_scale = 1.0f,
        .norms = {.eps = 1e-5f, .layer_norm = false, .pre_norms = true, .post_norms = false},
        .attention = {.heads = {4, 2, 8},
                      .qkv_bias = false,
                      .output_bias = false,
                      .qk_norm = QkNormSpan::None,
                      .scale = 0.3f,
                      .softcap = 0.0f,
                      .windows = {0, 0},
                      .rope = rope,
                      .window_rope = rope},
        .feed_forward = {.intermediate_size = kFfn, .activation = Activation::Silu, .bias = false},
        .head = {.rows = 3, .vocabulary = false, .softcap = 0.0f},
    };
}

// Norms on heads and branches, biases, a cap, a window.
inline ModelConfig with_every_norm() {
    ModelConfig model = plain();
    model.norms.post_norms = true;
    model.attention.qk_norm = QkNormSpan::EachHead;
    model.attention.qkv_bias = true;
    model.attention.softcap = 5.0f;
    model.attention.windows = {0, 7};
    model.feed_forward.activation = Activation::GeluTanh;
    return model;
}

// Norms over the outputs of branches only, and over all heads together.
inline ModelConfig with_output_norms() {
    ModelConfig model = plain();
    model.norms.pre_norms = false;
    model.norms.post_norms = true;
    model.attention.qk_norm = QkNormSpan::AllHeads;
    return model;
}

// Layer norms, biases, no gate, half of each head rotated.
inline ModelConfig with_layer_norms() {
    ModelConfig model = plain();
    model.norms.layer_norm = true;
    model.attention.output_bias = true;
    model.attention.rope.inverse_frequencies.resize(2);
    model.feed_forward.activation = Activation::Relu2;
    model.feed_forward.bias = true;
    return model;
}

// Norms over each head with weights of its own, and queries that grow at every seventh position.
inline ModelConfig with_norms_by_head() {
    ModelConfig model = with_layer_norms();
    model.attention.qk_norm = QkNormSpan::OwnHead;
    model.attention.query_growth = {.beta = 0.3f, .length = 7};
    return model;
}

// Frequencies by the length of the text, which change beyond 9 tokens.
inline ModelConfig with_ntk_scaling() {
    ModelConfig model = plain();
    model.attention.rope.usual_tokens = 9;
    model.attention.rope.ntk_theta = 10000.0;
    model.attention.rope.ntk_factor = 2.0;
    return model;
}

// Experts in the second layer, and a shared one.
inline ModelConfig with_experts() {
    ModelConfig model = plain();
    model.feed_forward.experts = {.count = 5,
                                  .active = 2,
                                  .intermediate_size = 24,
                                  .normalized = true,
                                  .shared_intermediate_size = 40,
                                  .layers = {1}};
    return model;
}

// Attention and feed-forward network side by side, without a gate.
inline ModelConfig side_by_side() {
    ModelConfig model = plain();
    model.residual.parallel = true;
    model.feed_forward.activation = Activation::Gelu;
    return model;
}

inline ModelConfig with_scaled_branches() {
    ModelConfig model = plain();
    model.residual.scale = 0.25f;
    return model;
}

inline ModelConfig with_vocabulary() {
    ModelConfig model = plain();
    model.head = {.rows = kVocabulary, .vocabulary = true, .softcap = 2.0f};
    return model;
}

// One of each.
inline std::vector<ModelConfig> every_decoder() {
    return {plain(),
            with_every_norm(),
            with_output_norms(),
            with_layer_norms(),
            with_norms_by_head(),
            with_ntk_scaling(),
            with_experts(),
            side_by_side(),
            with_scaled_branches(),
            with_vocabulary()};
}

}  // namespace assay::test
