// Attention of every layer: products, rotation, the cache of keys and values, and attention itself.
#pragma once

#include <algorithm>
#include <cmath>
#include <optional>

#include "batch.h"
#include "kv_cache.h"
#include "layer_tensors.h"
#include "qk_norm.h"
#include "relative_positions.h"

namespace assay::cpu {

template <typename T>
class AttentionBlock {
  public:
    struct Weights {
        LinearWeights qkv;
        LinearWeights output;
        typename QkNorm<T>::Weights norms;
    };

    // `add`: add to the output buffer instead of overwriting it.
    AttentionBlock(const ModelConfig& config, const RunLimits& limits, bool add, const Kernels<T>& kernels)
        : config_(config.attention),
          heads_(config_.heads),
          is_encoder_(config.encoder.has_value()),
          kernels_(kernels),
          norms_(config_, kernels),
          qkv_({config.dtype, heads_.qkv_width(), config.hidden_size, Dtype::F32, config_.qkv_bias, false},
               kernels),
          output_({config.dtype, config.hidden_size, heads_.q_width(), Dtype::F32, config_.output_bias, add},
                  kernels),
          // An encoder's layers use the same memory one after the other.
          cache_(heads_, is_encoder_ ? 1 : config.num_layers, limits.kv_blocks),
          projected_(room_for_rows(limits.max_num_tokens) * heads_.qkv_width() * sizeof(float)),
          angles_(limits.max_num_tokens * heads_.head_dim * sizeof(float)),
          window_angles_(limits.max_num_tokens * heads_.head_dim * sizeof(float)) {}

    // Projects embeddings of relative positions for every layer that is bound from now on.
    void use(RelativePositions<T> relative) { relative_.emplace(std::move(relative)); }

    Weights bind(const LayerTensors& tensors, float norm_eps) {
        const Weights weights{tensors.linear("qkv", qkv_), tensors.linear("output", output_),
                              norms_.bind(tensors, norm_eps)};
        if (relative_) relative_->add_layer(tensors, qkv_, weights.qkv);
        return weights;
    }

    // Finds the rotation of every token, which all layers share.
    void prepare(const Batch& batch) {
        find_angles(config_.rope, batch, angles_);
        if (std::ranges::any_of(config_.windows, [](std::size_t window) { return window > 0; }))
            find_angles(config_.window_rope, batch, window_angles_);
    }

    // Stores the keys and values of all tokens of the batch in the cache, and attends from those in `tiles`.
    // `states` are [tokens, hidden]; rows of [tokens, q_width] take their place.
    void attend(std::size_t layer, const Weights& weights, const Batch& batch,
                std::span<const TileSpan> tiles, T* states) {
        qkv_.run(batch.places().size(), states, weights.qkv, projected_.as());
        norms_.before_rotation(weights.norms, batch.places().size(), projected_.template as<float>());
        rotate_and_store(layer, weights, batch.places(), states);
        run_tiles(layer, batch, tiles, states);
    }

    // The product that ends the block: `attended`, [rows, q_width], to `outputs`, [rows, hidden].
    void project(const Weights& weights, std::size_t rows, const T* attended, float* outputs) {
        output_.run(rows, attended, weights.output, outputs);
    }

  private:
    void find_angles(const Rope& rope, const Batch& batch, const Buffer& angles) {
        const std::span<const TokenPlace> places = batch.places();
        const std::size_t half = rope.inverse_frequencies.size();
        frequencies_.find(rope, batch.chunks());
#pragma omp parallel for
        for (std::size_t row = 0; row < places.size(); ++row) {
            float* cosines = angles.as<float>() + row * heads_.head_dim;
            const float* frequencies = frequencies_.of(places[row].chunk);
            for (std::size_t i = 0; i < half; ++i) {
                const float angle = static_cast<float>(places[row].position) * frequencies[i];
                cosines[i] = std::cos(angle) * rope.factor;
                cosines[half + i] = std::sin(angle) * rope.factor;
            }
        }
    }

    void rotate_and_store(std::size_t layer, const Weights& weights, std::span<const TokenPlace> places,
                          T* queries) {
        const CacheView<T> cache = cache_of(layer);
        const bool windowed = config_.windows[layer] > 0;
        const std::size_t half = (windowed ? config_.window_rope : config_.rope).inverse_frequencies.size();
        const typename QkNorm<T>::Weights norms = norms_.by_head(weights.norms);
        const float* angles = (windowed ? window_angles_ : angles_).template as<float>();
#pragma omp parallel for
        for (std::size_t row = 0; row < places.size(); ++row) {
            const float* cosines = angles + row * heads_.head_dim;
            const Rotation rotation{cosines,     cosines + half, 2 * half,
                                    norms.query, norms.key,      query_factor(places[row].position)};
            CacheView<T> block = cache;
            block.base += places[row].block * cache.block_stride;
            kernels_.rope(heads_, projected_.as<float>() + row * heads_.qkv_width(), rotation,
                          places[row].position % kTokensPerBlock, block, queries + row * heads_.q_width());
        }
    }

    float query_factor(std::size_t position) const {
        const auto [beta, length] = config_.query_growth;
        // The first positions stay as they are, bit for bit.
        if (beta == 0.0f || position < length) return 1.0f;
        return 1.0f + beta * std::log(static_cast<float>(1 + position / length));
    }

    void run_tiles(std::size_t layer, const Batch& batch, std::span<const TileSpan> tiles, T* queries) {
        const CacheView<T> cache = cache_of(layer);
        const RelativeTerms<T> relative = relative_ ? relative_->terms(layer) : RelativeTerms<T>{};
#pragma omp parallel for schedule(dynamic)
        for (std::size_t i = 0; i < tiles.size(); ++i) {
            const TileSpan& span = tiles[i];
            const std::size_t row = span.chunk->token_begin + span.token;
            kernels_.attention({heads_, cache, batch.block_table(*span.chunk),
                                queries + row * heads_.q_width(), heads_.q_width(), span.tokens,
                                span.chunk->position + span.token, span.head, span.heads, config_.scale,
                                config_.softcap, config_.windows[layer],
                                is_encoder_ ? span.chunk->text_tokens : 0, relative_ ? &relative : nullptr});
        }
    }

    CacheView<T> cache_of(std::size_t layer) const { return cache_.layer(is_encoder_ ? 0 : layer); }

    const AttentionConfig config_;
    const HeadShape heads_;
    const bool is_encoder_;
    const Kernels<T>& kernels_;
    const QkNorm<T> norms_;
    Linear<T> qkv_, output_;
    KvCache<T> cache_;
    std::optional<RelativePositions<T>> relative_;
    ChunkFrequencies frequencies_;
    // [max_num_tokens, qkv_width].
    Buffer projected_;
    // [max_num_tokens, head_dim]: cosines, then sines.
    Buffer angles_, window_angles_;
};

}  // namespace assay::cpu
