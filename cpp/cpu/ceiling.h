// What oneDNN alone reaches: the yardstick of the engine's speed.
#pragma once

#include <memory>
#include <span>
#include <vector>

#include "matmul.h"

namespace assay::cpu {

// The matrix products of a decoder and nothing between them, on weights of its own for every layer.
class Ceiling {
  public:
    struct Shape {
        std::size_t out;
        std::size_t in;
    };

    Ceiling(Dtype dtype, std::span<const Shape> shapes, std::size_t layers, std::size_t rows,
            std::size_t threads);

    // Seconds of one pass of `rows` rows through all layers.
    double seconds();

  private:
    struct Product {
        Matmul matmul;
        std::vector<Buffer> weights;  // of each layer
    };

    std::size_t rows_;
    std::size_t layers_;
    std::vector<Product> products_;
    Buffer x_, y_;
};

}  // namespace assay::cpu
