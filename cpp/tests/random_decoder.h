// A decoder of any sizes with random weights, for tests and benchmarks.
#pragma once

#include <algorithm>
#include <span>
#include <string>
#include <vector>

#include "check.h"
#include "cpu/buffer.h"
#include "cpu/config.h"
#include "cpu/matmul.h"
#include "cpu/weights.h"

namespace assay::test {

using namespace assay::cpu;

template <typename T>
std::span<const std::byte> bytes_of(const std::vector<T>& values) {
    return std::as_bytes(std::span(values));
}

// Random weights for every tensor that a decoder has.
class RandomDecoder {
  public:
    explicit RandomDecoder(const ModelConfig& config) : config_(config) {
        const HeadShape& heads = config.attention.heads;
        const std::size_t width = config.feed_forward.intermediate_size;
        const bool gated = cpu::gated(config.feed_forward.activation);
        state("embedding", config_.vocab_size * config_.hidden_size);
        if (config.positions.rows > 0)
            floats("position_embedding", config.positions.rows * config_.hidden_size);
        const std::size_t outside = bytes();
        for (std::size_t layer = 0; layer < config.num_layers; ++layer) {
            const std::string at = "layers." + std::to_string(layer) + ".";
            if (config.norms.pre_norms) norm(at + "input_norm");
            linear(at + "qkv", heads.qkv_width(), config_.hidden_size, config.attention.qkv_bias);
            linear(at + "output", config_.hidden_size, heads.q_width(), config.attention.output_bias);
            if (config.norms.pre_norms) norm(at + "post_norm");
            if (std::ranges::count(config.feed_forward.experts.layers, layer) > 0) {
                experts(at);
            } else {
                linear(at + "gate_up", (gated ? 2 : 1) * width, config_.hidden_size,
                       config.feed_forward.bias);
                linear(at + "down", config_.hidden_size, width, config.feed_forward.bias);
            }
            if (config.attention.qk_norm != QkNormSpan::None) {
                const bool each = config.attention.qk_norm == QkNormSpan::EachHead;
                for (const char* kind : {"", "_bias"}) {
                    if (*kind != '\0' && config.attention.qk_norm != QkNormSpan::OwnHead) continue;
                    floats(at + "query_norm" + kind, each ? heads.head_dim : heads.q_width());
                    floats(at + "key_norm" + kind, each ? heads.head_dim : heads.kv_width());
                }
            }
            for (const char* name : {"attention_post_norm", "mlp_post_norm"})
                if (config.norms.post_norms) norm(at + name);
        }
        layer_bytes_ = bytes() - outside;
        norm("final_norm");
        if (config.head.vocabulary)
            packed("lm_head", state_dtype(), room_for_logits(config_.head.rows), config_.hidden_size);
        else
            floats("head", config.head.rows * config_.hidden_size);
    }

    const Weights& weights() const { return weights_; }

    // Size of the tensors of all layers.
    std::size_t layer_bytes() const { return layer_bytes_; }

  private:
    std::size_t bytes() const {
        std::size_t sum = 0;
        for (const Buffer& buffer : memory_) sum += buffer.bytes();
        return sum;
    }

    // Format of the embedding.
    Dtype state_dtype() const {
        const bool wide = config_.dtype == Dtype::F32 || !supports_bf16();
        return wide ? Dtype::F32 : Dtype::Bf16;
    }

    std::vector<float> values(std::size_t n, float scale) {
        return random_floats(n, static_cast<unsigned>(memory_.size()), scale);
    }

    void add(const std::string& name, std::span<const std::byte> bytes) {
        Buffer buffer(bytes.size());
        std::copy(bytes.begin(), bytes.end(), buffer.as<std::byte>());
        add(name, std::move(buffer));
    }
    void add(const std::string& name, Buffer buffer) {
        weights_.add(name, {buffer.as<std::byte>(), buffer.bytes()});
        memory_.push_back(std::move(buffer));
    }

    void floats(const std::string& name, std::size_t n, float scale = 1.0f) {
        add(name, bytes_of(values(n, scale)));
    }
    void state(const std::string& name, std::size_t n) {
        if (state_dtype() == Dtype::F32) return floats(name, n);
        add(name, bytes_of(rounded<bf16>(values(n, 1.0f))));
    }
    void norm(const std::string& name) {
        floats(name, config_.hidden_size);
        if (config_.norms.layer_norm) floats(name + "_bias", config_.hidden_size);
    }
    void experts(const std::string& at) {
        const ExpertsConfig& experts = config_.feed_forward.experts;
        const std::size_t shared = experts.shared_intermediate_size;
        packed(at + "router", state_dtype(), experts.count + (shared > 0 ? 1 : 0), config_.hidden_size);
        for (std::size_t expert = 0; expert < experts.count; ++expert)
            this->expert(at + "experts." + std::to_string(expert) + ".", experts.intermediate_size);
        if (shared > 0) expert(at + "shared.", shared);
    }
    void expert(const std::string& at, std::size_t width) {
        linear(at + "gate_up", 2 * width, config_.hidden_size, false);
        linear(at + "down", config_.hidden_size, width, false);
    }
    void linear(const std::string& name, std::size_t out, std::size_t in, bool bias) {
        packed(name, config_.dtype, out, in);
        if (config_.dtype == Dtype::Int8) floats(name + "_scale", out, 0.01f);
        if (bias) floats(name + "_bias", out);
    }
    void packed(const std::string& name, Dtype dtype, std::size_t out, std::size_t in) {
        Matmul matmul({dtype, out, in, dtype == Dtype::Int8 ? Dtype::Int32 : Dtype::F32});
        Buffer buffer(matmul.packed_bytes());
        const std::span<std::byte> to(buffer.as<std::byte>(), buffer.bytes());
        const std::vector<float> source = values(out * in, 0.3f);
        if (dtype == Dtype::F32) {
            matmul.pack(bytes_of(source), to);
        } else if (dtype == Dtype::Bf16) {
            matmul.pack(bytes_of(rounded<bf16>(source)), to);
        } else {
            std::vector<std::int8_t> quantized;
            quantized.reserve(source.size());
            for (const float value : source) quantized.push_back(static_cast<std::int8_t>(value * 400.0f));
            matmul.pack(bytes_of(quantized), to);
        }
        add(name, std::move(buffer));
    }

    const ModelConfig config_;
    std::vector<Buffer> memory_;
    std::size_t layer_bytes_ = 0;
    Weights weights_;
};

}  // namespace assay::test
