// A mixture of experts: what takes the place of the feed-forward network in layers that have one.
#pragma once

#include <algorithm>
#include <optional>
#include <vector>

#include "feed_forward.h"
#include "residual_stream.h"
#include "router.h"

namespace assay::cpu {

// Tokens are grouped by expert, so that each expert's matrices are read once in an iteration. A token's
// outputs are added in the order of its experts' numbers, each computed as if the token were alone, so its
// bits do not depend on who else chose them.
template <typename T>
class MixtureOfExperts {
  public:
    struct Weights {
        LinearWeights router;
        std::vector<typename FeedForward<T>::Weights> experts;
        std::optional<typename FeedForward<T>::Weights> shared;
    };

    MixtureOfExperts(const ModelConfig& config, const RunLimits& limits, const Kernels<T>& kernels)
        : config_(config.feed_forward.experts),
          hidden_(config.hidden_size),
          router_(config, limits, kernels),
          expert_(with_width(config, config_.intermediate_size), limits, false, kernels, true),
          inputs_(FeedForward<T>::kPanelRows * hidden_ * sizeof(T)),
          outputs_(FeedForward<T>::kPanelRows * hidden_ * sizeof(float)) {
        if (config_.shared_intermediate_size > 0)
            shared_.emplace(with_width(config, config_.shared_intermediate_size), limits, false, kernels,
                            true);
    }

    Weights bind(const LayerTensors& tensors) const {
        Weights weights{router_.bind(tensors), {}, std::nullopt};
        for (std::size_t expert = 0; expert < config_.count; ++expert)
            weights.experts.push_back(expert_.bind(tensors, "experts." + std::to_string(expert) + "."));
        if (shared_) weights.shared = shared_->bind(tensors, "shared.");
        return weights;
    }

    // Adds the outputs for `rows` states, [rows, hidden], to `sums`, [rows, hidden].
    void run(const Weights& weights, std::size_t rows, const T* states, float* sums) {
        router_.route(weights.router, rows, states);
        for (std::size_t expert = 0; expert < config_.count; ++expert)
            run_expert(weights.experts[expert], router_.tokens_of(expert), states, sums);
        if (shared_) run_shared(*weights.shared, rows, states, sums);
    }

  private:
    static constexpr std::size_t kPanelRows = FeedForward<T>::kPanelRows;

    static ModelConfig with_width(ModelConfig config, std::size_t width) {
        config.feed_forward.intermediate_size = width;
        config.feed_forward.bias = false;
        return config;
    }

    void run_expert(const typename FeedForward<T>::Weights& weights, std::span<const Routed> tokens,
                    const T* states, float* sums) {
        for (std::size_t begin = 0; begin < tokens.size(); begin += kPanelRows) {
            const auto panel = tokens.subspan(begin, std::min(kPanelRows, tokens.size() - begin));
#pragma omp parallel for
            for (std::size_t i = 0; i < panel.size(); ++i)
                std::copy_n(states + panel[i].row * hidden_, hidden_, inputs_.as<T>() + i * hidden_);
            expert_.run(weights, panel.size(), inputs_.as<T>(), outputs_.as<float>());
#pragma omp parallel for
            for (std::size_t i = 0; i < panel.size(); ++i)
                add(outputs_.as<float>() + i * hidden_, panel[i].weight, sums + panel[i].row * hidden_);
        }
    }

    void run_shared(const typename FeedForward<T>::Weights& weights, std::size_t rows, const T* states,
                    float* sums) {
        for (std::size_t begin = 0; begin < rows; begin += kPanelRows) {
            const std::size_t panel = std::min(kPanelRows, rows - begin);
            shared_->run(weights, panel, states + begin * hidden_, outputs_.as<float>());
#pragma omp parallel for
            for (std::size_t i = 0; i < panel; ++i)
                add(outputs_.as<float>() + i * hidden_, router_.shared_weight(begin + i),
                    sums + (begin + i) * hidden_);
        }
    }

    void add(const float* output, float weight, float* sum) const {
        for (std::size_t i = 0; i < hidden_; ++i) sum[i] += weight * output[i];
    }

    const ExpertsConfig config_;
    const std::size_t hidden_;
    Router<T> router_;
    FeedForward<T> expert_;
    std::optional<FeedForward<T>> shared_;
    // [kPanelRows, hidden]: an expert's tokens, and its outputs for them.
    Buffer inputs_, outputs_;
};

}  // namespace assay::cpu
