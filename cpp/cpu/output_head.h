// What follows the last layer: the final norm and the product with the head's matrix.
#pragma once

#include <algorithm>
#include <cmath>
#include <vector>

#include "layer_tensors.h"
#include "residual_stream.h"

namespace assay::cpu {

template <typename T>
class OutputHead {
  public:
    virtual ~OutputHead() = default;

    // Computes [rows, head rows] from the first rows of the stream. `states` is room for [rows, hidden].
    virtual void run(std::size_t rows, const ResidualStream<T>& stream, T* states,
                     std::span<float> logits) = 0;
};

// The products of a head that scores, all in f32.
template <typename T>
class ScoreHead final : public OutputHead<T> {
  public:
    ScoreHead(const ModelConfig& config, const NormWeights& norm, const Weights& weights,
              const Kernels<T>& kernels)
        : rows_(config.head.rows),
          hidden_(config.hidden_size),
          norm_(norm),
          matrix_(weights.find<float>("head", rows_ * hidden_ * sizeof(float))),
          kernels_(kernels) {}

    void run(std::size_t rows, const ResidualStream<T>& stream, T* /*states*/,
             std::span<float> logits) override {
        std::vector<float> states(rows * hidden_);
#pragma omp parallel for
        for (std::size_t row = 0; row < rows; ++row) {
            float* state = states.data() + row * hidden_;
            kernels_.norm_f32(stream.row(row), norm_, hidden_, state);
            kernels_.head(matrix_, state, rows_, hidden_, logits.data() + row * rows_);
        }
    }

  private:
    const std::size_t rows_;
    const std::size_t hidden_;
    const NormWeights norm_;
    const float* const matrix_;
    const Kernels<T>& kernels_;
};

// The logits of the vocabulary, or of some of its tokens: the logit of a token has the same bits either way.
template <typename T>
class VocabularyHead final : public OutputHead<T> {
  public:
    VocabularyHead(const ModelConfig& config, const RunLimits& limits, const NormWeights& norm,
                   const Weights& weights, const Kernels<T>& kernels)
        : tokens_(config.head.rows),
          columns_(room_for_logits(tokens_)),
          softcap_(config.head.softcap),
          norm_(norm),
          matrix_({kDtype<T>, columns_, config.hidden_size, Dtype::F32, false, false}, kernels),
          weights_{weights.find<std::byte>("lm_head", matrix_.packed_bytes()), nullptr, nullptr},
          logits_(room_for_rows(std::min(kPanelRows, limits.max_num_tokens)) * columns_ * sizeof(float)) {}

    void run(std::size_t rows, const ResidualStream<T>& stream, T* states, std::span<float> logits) override {
        for (std::size_t begin = 0; begin < rows; begin += kPanelRows) {
            const std::size_t panel = std::min(kPanelRows, rows - begin);
            stream.norm(norm_, begin, panel, states);
            matrix_.run(panel, states, weights_, logits_.as());
            for (std::size_t row = 0; row < panel; ++row)
                cap(logits_.as<float>() + row * columns_, logits.data() + (begin + row) * tokens_);
        }
    }

  private:
    // Rows to compute at once.
    static constexpr std::size_t kPanelRows = 32;

    void cap(const float* from, float* to) const {
#pragma omp parallel for
        for (std::size_t i = 0; i < tokens_; ++i)
            to[i] = softcap_ > 0.0f ? softcap_ * std::tanh(from[i] / softcap_) : from[i];
    }

    const std::size_t tokens_;
    // With those that fill the last block.
    const std::size_t columns_;
    const float softcap_;
    const NormWeights norm_;
    Linear<T> matrix_;
    const LinearWeights weights_;
    // [kPanelRows, columns].
    Buffer logits_;
};

}  // namespace assay::cpu
