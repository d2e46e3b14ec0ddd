// The feed-forward network of a layer, or one of its experts.
#pragma once

#include <algorithm>

#include "layer_tensors.h"

namespace assay::cpu {

template <typename T>
class FeedForward {
  public:
    // Rows to compute at once: the buffers between the products then stay in the processor's cache.
    static constexpr std::size_t kPanelRows = 512;

    struct Weights {
        LinearWeights gate_up;
        LinearWeights down;
    };

    // `add`: add to the output buffer instead of overwriting it. `any_rows`: see Matmul::Shape.
    FeedForward(const ModelConfig& config, const RunLimits& limits, bool add, const Kernels<T>& kernels,
                bool any_rows = false)
        : config_(config.feed_forward),
          kernels_(kernels),
          gate_up_(
              {config.dtype, gate_up_width(), config.hidden_size, kDtype<T>, config_.bias, false, any_rows,
               /*scale_columns=*/true},
              kernels),
          down_({config.dtype, config.hidden_size, config_.intermediate_size, Dtype::F32, config_.bias, add,
                 any_rows},
                kernels) {
        const std::size_t rows = std::min(kPanelRows, room_for_rows(limits.max_num_tokens));
        gates_ = Buffer(rows * gate_up_width() * sizeof(T));
        activated_ = Buffer(rows * config_.intermediate_size * sizeof(T));
    }

    // `prefix` comes before the tensors' names.
    Weights bind(const LayerTensors& tensors, const std::string& prefix = "") const {
        return {tensors.linear(prefix + "gate_up", gate_up_), tensors.linear(prefix + "down", down_)};
    }

    // `states` and `outputs` are [rows, hidden], of kPanelRows rows at most.
    void run(const Weights& weights, std::size_t rows, const T* states, float* outputs) {
        const std::size_t width = config_.intermediate_size;
        const float* scales = gate_up_.run_without_row_scales(rows, states, weights.gate_up, gates_.as());
#pragma omp parallel for
        for (std::size_t row = 0; row < rows; ++row)
            kernels_.activate(config_.activation, gates_.as<T>() + row * gate_up_width(),
                              scales == nullptr ? 1.0f : scales[row], width,
                              activated_.as<T>() + row * width);
        down_.run(rows, activated_.as<T>(), weights.down, outputs);
    }

  private:
    // Columns of the first product: gates, unless the activation has none, and ups.
    std::size_t gate_up_width() const {
        return (gated(config_.activation) ? 2 : 1) * config_.intermediate_size;
    }

    const FeedForwardConfig config_;
    const Kernels<T>& kernels_;
    Linear<T> gate_up_, down_;
    Buffer gates_, activated_;
};

}  // namespace assay::cpu
