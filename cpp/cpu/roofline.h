// What oneDNN's matrix products alone reach, to compare the engine's speed with.
#pragma once

#include <memory>
#include <span>
#include <vector>

#include "matmul.h"

namespace assay::cpu {

// The matrix products of a decoder and nothing between them. Every layer has its own weights, so that they
// are read from memory as in the decoder.
class Roofline {
  public:
    struct Shape {
        std::size_t out;
        std::size_t in;
    };

    Roofline(Dtype dtype, std::span<const Shape> shapes, std::size_t layers, std::size_t rows,
             std::size_t threads);

    // Runs `rows` rows through all layers and returns the seconds it took.
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
