// Chooses the experts of each token.
#pragma once

#include <algorithm>
#include <cmath>
#include <vector>

#include "layer_tensors.h"

namespace assay::cpu {

// A token that goes through an expert: its row, and the weight of the expert's output.
struct Routed {
    std::size_t row;
    float weight;
};

// A token's experts depend on its own state only. If scores are equal, the lower-numbered expert is chosen.
template <typename T>
class Router {
  public:
    Router(const ModelConfig& config, const RunLimits& limits, const Kernels<T>& kernels)
        : config_(config.feed_forward.experts),
          width_(config_.count + (config_.shared_intermediate_size > 0 ? 1 : 0)),
          matrix_({.dtype = kDtype<T>,
                   .out = width_,
                   .in = config.hidden_size,
                   .result = Dtype::F32,
                   .any_rows = true},
                  kernels),
          scores_(room_for_rows(limits.max_num_tokens) * width_ * sizeof(float)),
          chosen_(limits.max_num_tokens * config_.active) {}

    LinearWeights bind(const LayerTensors& tensors) const { return tensors.linear("router", matrix_); }

    // Routes `rows` states, [rows, hidden].
    void route(const LinearWeights& weights, std::size_t rows, const T* states) {
        matrix_.run(rows, states, weights, scores_.as());
#pragma omp parallel for
        for (std::size_t row = 0; row < rows; ++row) choose(row);
        group(rows);
    }

    // Tokens of an expert, in ascending order.
    std::span<const Routed> tokens_of(std::size_t expert) const {
        return std::span(routed_).subspan(ends_[expert], ends_[expert + 1] - ends_[expert]);
    }

    // What the shared expert's output is multiplied by.
    float shared_weight(std::size_t row) const {
        return 1.0f / (1.0f + std::exp(-scores_.as<float>()[row * width_ + config_.count]));
    }

  private:
    struct Choice {
        std::size_t expert;
        float weight;
    };

    // The experts with the largest scores, weighted by their shares.
    void choose(std::size_t row) {
        float* scores = scores_.as<float>() + row * width_;
        const float top = *std::max_element(scores, scores + config_.count);
        float total = 0.0f;
        for (std::size_t expert = 0; expert < config_.count; ++expert) {
            scores[expert] = std::exp(scores[expert] - top);
            total += scores[expert];
        }
        Choice* chosen = chosen_.data() + row * config_.active;
        float chosen_total = 0.0f;
        for (std::size_t i = 0; i < config_.active; ++i) {
            float* best = std::max_element(scores, scores + config_.count);
            chosen[i] = {static_cast<std::size_t>(best - scores), *best};
            chosen_total += *best;
            *best = -1.0f;
        }
        const float sum = config_.normalized ? chosen_total : total;
        for (std::size_t i = 0; i < config_.active; ++i) chosen[i].weight /= sum;
    }

    // Sorts the choices of all rows by expert.
    void group(std::size_t rows) {
        const std::span<const Choice> choices(chosen_.data(), rows * config_.active);
        ends_.assign(config_.count + 1, 0);
        for (const Choice& choice : choices) ++ends_[choice.expert + 1];
        for (std::size_t expert = 0; expert < config_.count; ++expert) ends_[expert + 1] += ends_[expert];
        routed_.resize(choices.size());
        std::vector<std::size_t> next(ends_.begin(), ends_.end() - 1);
        for (std::size_t i = 0; i < choices.size(); ++i)
            routed_[next[choices[i].expert]++] = {i / config_.active, choices[i].weight};
    }

    const ExpertsConfig config_;
    const std::size_t width_;
    Linear<T> matrix_;
    // [max_num_tokens, width_].
    Buffer scores_;
    // [max_num_tokens, active].
    std::vector<Choice> chosen_;
    std::vector<Routed> routed_;
    // Where each expert's tokens begin among `routed_`, and where the last one's end.
    std::vector<std::size_t> ends_;
};

}  // namespace assay::cpu
