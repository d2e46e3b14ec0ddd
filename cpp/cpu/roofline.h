// What oneDNN's matrix products alone reach, to compare the engine's speed with.
#pragma once

#include <memory>
#include <span>
#include <vector>

#include "config.h"
#include "matmul.h"

namespace assay::cpu {

// The matrix products of a decoder and nothing between them. Every product has its own weights, so that they
// are read from memory as in the decoder.
class Roofline {
  public:
    struct Shape {
        std::size_t out;
        std::size_t in;
        std::size_t rows;
        // Products of this shape: those of all layers or, of experts, of all experts.
        std::size_t count;
    };

    Roofline(Dtype dtype, std::span<const Shape> shapes, std::size_t threads);

    // Runs all products and returns the seconds it took.
    double seconds();

  private:
    struct Product {
        Matmul matmul;
        std::size_t rows;
        std::vector<Buffer> weights;
    };

    std::vector<Product> products_;
    Buffer x_, y_;
};

// The products of a decoder's layers for `rows` tokens, which divide evenly among the experts. After its keys
// and values, the last layer goes on with the tokens alone whose logits are read.
std::vector<Roofline::Shape> products(const ModelConfig& config, std::size_t rows, std::size_t reads);

}  // namespace assay::cpu
