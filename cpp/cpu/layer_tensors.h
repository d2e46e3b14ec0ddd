// Finds the tensors of one layer among the weights.
#pragma once

#include <string>

#include "config.h"
#include "linear.h"
#include "weights.h"

namespace assay::cpu {

class LayerTensors {
  public:
    LayerTensors(const Weights& weights, std::size_t layer)
        : weights_(weights), prefix_("layers." + std::to_string(layer) + ".") {}

    const float* floats(const std::string& name, std::size_t n) const {
        return weights_.find<float>(prefix_ + name, n * sizeof(float));
    }

    // Null unless the model has the tensor.
    const float* floats_if(bool present, const std::string& name, std::size_t n) const {
        return present ? floats(name, n) : nullptr;
    }

    NormWeights norm(const std::string& name, std::size_t n, const NormConfig& config) const {
        return {floats(name, n), floats_if(config.layer_norm, name + "_bias", n), config.eps};
    }

    template <typename T>
    LinearWeights linear(const std::string& name, const Linear<T>& layer) const {
        const Matmul::Shape& shape = layer.shape();
        return {weights_.find<std::byte>(prefix_ + name, layer.packed_bytes()),
                floats_if(shape.dtype == Dtype::Int8, name + "_scale", shape.out),
                floats_if(shape.bias, name + "_bias", shape.out)};
    }

  private:
    const Weights& weights_;
    const std::string prefix_;
};

}  // namespace assay::cpu
