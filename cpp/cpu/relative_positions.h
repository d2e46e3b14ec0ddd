// Embeddings of the relative positions of queries and keys, projected for every layer (DeBERTa).
#pragma once

#include <cmath>
#include <vector>

#include "layer_tensors.h"

namespace assay::cpu {

// The row for each distance from a query to a key, at index `most - 1 + key - query` for texts of up to
// `most` tokens.
inline std::vector<std::int32_t> rows_by_distance(const RelativeConfig& config, std::size_t most) {
    const auto span = static_cast<std::int32_t>(config.span);
    const auto half = static_cast<std::int32_t>(config.buckets / 2);
    std::vector<std::int32_t> rows;
    for (auto distance = static_cast<std::int32_t>(most) - 1; distance > -static_cast<std::int32_t>(most);
         --distance) {
        std::int32_t bucket = distance;
        const std::int32_t size = std::abs(distance);
        if (half > 0 && size > half) {
            // In f32, as in transformers: where the logarithm is nearly an integer, its rounding decides.
            const float part =
                std::log(static_cast<float>(size) / static_cast<float>(half)) /
                std::log(static_cast<float>((static_cast<double>(config.longest) - 1.0) / half));
            bucket = static_cast<std::int32_t>(std::ceil(part * static_cast<float>(half - 1))) + half;
            if (distance < 0) bucket = -bucket;
        }
        rows.push_back(std::clamp(bucket + span, 0, 2 * span - 1));
    }
    return rows;
}

template <typename T>
class RelativePositions {
  public:
    RelativePositions(const ModelConfig& config, const RunLimits& limits, const Weights& weights,
                      const Kernels<T>& kernels)
        : config_(config.encoder->relative),
          heads_(config.attention.heads),
          most_(limits.max_num_tokens),
          rows_(2 * config_.span),
          by_distance_(rows_by_distance(config_, most_)),
          projection_({config.dtype, projected_width(), config.hidden_size, Dtype::F32, true, false},
                      kernels),
          kernels_(kernels),
          embedding_(room_for_rows(rows_) * config.hidden_size * sizeof(T)) {
        const std::size_t hidden = config.hidden_size;
        const auto floats = [&](const char* name, std::size_t n) {
            return weights.find<float>(name, n * sizeof(float));
        };
        const float* stored = floats("relative_embedding", rows_ * hidden);
        NormWeights norm{};
        if (config_.normed)
            norm = {floats("relative_norm", hidden), floats("relative_norm_bias", hidden), config.norms.eps};
        for (std::size_t row = 0; row < rows_; ++row)
            kernels.norm(stored + row * hidden, norm, hidden, embedding_.as<T>() + row * hidden);
    }

    // Projects the rows for the next layer, whose own projection is `qkv`.
    void add_layer(const LayerTensors& tensors, Linear<T>& qkv, const LinearWeights& qkv_weights) {
        const bool shared = config_.shared_projections;
        const std::size_t width = shared ? heads_.qkv_width() : projected_width();
        const Buffer projected(room_for_rows(rows_) * width * sizeof(float));
        if (shared)
            qkv.run(rows_, embedding_.as<T>(), qkv_weights, projected.as());
        else
            projection_.run(rows_, embedding_.as<T>(), tensors.linear("relative", projection_),
                            projected.as());
        Layer layer;
        if (config_.with_keys) layer.queries = pack_queries(projected.as<float>(), width);
        const std::size_t first_key = shared || config_.with_keys ? heads_.q_width() : 0;
        if (config_.with_queries) layer.keys = pack_keys(projected.as<float>() + first_key, width);
        layers_.push_back(std::move(layer));
    }

    RelativeTerms<T> terms(std::size_t layer) const {
        return {layers_[layer].keys.template as<T>(), room_for_rows(rows_) * heads_.head_dim,
                layers_[layer].queries.template as<T>(), by_distance_.data() + (most_ - 1)};
    }

  private:
    struct Layer {
        Buffer keys, queries;
    };

    // Projections of queries, then of keys, those that there are.
    std::size_t projected_width() const {
        return heads_.q_width() * std::max<std::size_t>(1, config_.with_queries + config_.with_keys);
    }

    // [rows, q_width].
    Buffer pack_queries(const float* from, std::size_t stride) const {
        Buffer packed(room_for_rows(rows_) * heads_.q_width() * sizeof(T));
        for (std::size_t row = 0; row < rows_; ++row)
            kernels_.norm(from + row * stride, {}, heads_.q_width(), packed.as<T>() + row * heads_.q_width());
        return packed;
    }

    // [heads][rows / 16][head_dim][16 rows], in bf16 with pairs of numbers adjacent, as in KvCache.
    Buffer pack_keys(const float* from, std::size_t stride) const {
        constexpr std::size_t kTogether = 4 / sizeof(T);
        const std::size_t dim = heads_.head_dim;
        Buffer packed(heads_.heads * room_for_rows(rows_) * dim * sizeof(T));
        std::vector<T> rounded(heads_.q_width());
        for (std::size_t row = 0; row < rows_; ++row) {
            kernels_.norm(from + row * stride, {}, heads_.q_width(), rounded.data());
            for (std::size_t head = 0; head < heads_.heads; ++head) {
                T* block = packed.as<T>() + (head * room_for_rows(rows_) + row / 16 * 16) * dim;
                for (std::size_t d = 0; d < dim; ++d)
                    block[d / kTogether * kTogether * 16 + row % 16 * kTogether + d % kTogether] =
                        rounded[head * dim + d];
            }
        }
        return packed;
    }

    const RelativeConfig config_;
    const HeadShape heads_;
    const std::size_t most_;
    const std::size_t rows_;
    const std::vector<std::int32_t> by_distance_;
    Linear<T> projection_;
    const Kernels<T>& kernels_;
    // [rows, hidden].
    Buffer embedding_;
    std::vector<Layer> layers_;
};

}  // namespace assay::cpu
