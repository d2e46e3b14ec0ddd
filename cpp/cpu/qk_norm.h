// Norms of queries and keys between their projection and their rotation.
#pragma once

#include "layer_tensors.h"

namespace assay::cpu {

// Norms over each head with the same weights are left to the rotation, which goes through the heads one by
// one anyway. The others come before it, over rows of the projection.
template <typename T>
class QkNorm {
  public:
    // Null unless the model has them.
    struct Weights {
        NormWeights query;
        NormWeights key;
    };

    QkNorm(const AttentionConfig& config, const Kernels<T>& kernels)
        : span_(config.qk_norm), heads_(config.heads), kernels_(kernels) {}

    Weights bind(const LayerTensors& tensors, float eps) const {
        const bool wide = span_ == QkNormSpan::AllHeads || span_ == QkNormSpan::OwnHead;
        const auto norm = [&](const std::string& name, std::size_t width) {
            return NormWeights{tensors.floats_if(span_ != QkNormSpan::None, name, width),
                               tensors.floats_if(span_ == QkNormSpan::OwnHead, name + "_bias", width), eps};
        };
        return {norm("query_norm", wide ? heads_.q_width() : heads_.head_dim),
                norm("key_norm", wide ? heads_.kv_width() : heads_.head_dim)};
    }

    // Norms the queries and keys of `rows` rows of [rows, qkv_width] in place, unless the rotation does.
    void before_rotation(const Weights& weights, std::size_t rows, float* projected) const {
        if (span_ == QkNormSpan::None || span_ == QkNormSpan::EachHead) return;
#pragma omp parallel for
        for (std::size_t i = 0; i < rows; ++i) {
            float* query = projected + i * heads_.qkv_width();
            norm(weights.query, heads_.heads, query);
            norm(weights.key, heads_.kv_heads, query + heads_.q_width());
        }
    }

    // The norms that the rotation applies to each head; null if there are none.
    Weights by_head(const Weights& weights) const {
        return span_ == QkNormSpan::EachHead ? weights : Weights{};
    }

  private:
    // Norms heads that follow one another.
    void norm(const NormWeights& weights, std::size_t heads, float* x) const {
        const std::size_t dim = heads_.head_dim;
        if (span_ == QkNormSpan::AllHeads) {
            kernels_.norm_f32(x, weights, heads * dim, x);
            return;
        }
        for (std::size_t head = 0; head < heads; ++head, x += dim) {
            const std::size_t first = head * dim;
            kernels_.norm_f32(x, {weights.weight + first, weights.bias + first, weights.eps}, dim, x);
        }
    }

    const QkNormSpan span_;
    const HeadShape heads_;
    const Kernels<T>& kernels_;
};

}  // namespace assay::cpu
