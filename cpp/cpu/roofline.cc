#include "roofline.h"

#include <omp.h>

#include <algorithm>
#include <chrono>
#include <cstring>

namespace assay::cpu {
namespace {

// Fills with small numbers of either sign, none of them denormal, which would slow the processor down.
void fill(Buffer& buffer, Dtype dtype) {
    std::uint32_t state = 1;
    for (std::size_t i = 0; i < buffer.bytes() / size_of(dtype); ++i) {
        state = state * 1664525u + 1013904223u;
        const float value = (static_cast<float>(state >> 16) / 32768.0f - 1.0f) * 0.1f;
        std::uint32_t bits;
        std::memcpy(&bits, &value, sizeof bits);
        if (dtype == Dtype::Int8)
            buffer.as<std::uint8_t>()[i] = static_cast<std::uint8_t>(state >> 24);
        else if (dtype == Dtype::F32)
            buffer.as<std::uint32_t>()[i] = bits;
        else
            buffer.as<std::uint16_t>()[i] = static_cast<std::uint16_t>(bits >> 16);
    }
}

}  // namespace

Roofline::Roofline(Dtype dtype, std::span<const Shape> shapes, std::size_t threads) {
    if (threads > 0) omp_set_num_threads(static_cast<int>(threads));
    std::size_t largest_in = 0, largest_out = 0;
    for (const Shape& shape : shapes) {
        largest_in = std::max(largest_in, shape.rows * shape.in);
        largest_out = std::max(largest_out, shape.rows * shape.out);
        const Dtype result = dtype == Dtype::Int8 ? Dtype::Int32 : dtype;
        Product product{Matmul({dtype, shape.out, shape.in, result}), shape.rows, {}};
        for (std::size_t i = 0; i < shape.count; ++i) {
            product.weights.emplace_back(product.matmul.packed_bytes());
            fill(product.weights.back(), dtype);
        }
        products_.push_back(std::move(product));
    }
    x_ = Buffer(largest_in * size_of(dtype));
    y_ = Buffer(largest_out * sizeof(float));
    fill(x_, dtype);
}

double Roofline::seconds() {
    const auto start = std::chrono::steady_clock::now();
    for (Product& product : products_)
        for (const Buffer& weights : product.weights)
            product.matmul.run(product.rows, x_.as(), weights.as(), nullptr, y_.as());
    return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

std::vector<Roofline::Shape> products(const ModelConfig& config, std::size_t rows, std::size_t reads) {
    const HeadShape& heads = config.attention.heads;
    const ExpertsConfig& experts = config.feed_forward.experts;
    const std::size_t hidden = config.hidden_size, gates = gated(config.feed_forward.activation) ? 1 : 0;
    std::vector<Roofline::Shape> shapes;
    const auto feed_forward = [&](std::size_t width, std::size_t tokens, std::size_t count) {
        if (width == 0) return;
        shapes.push_back({(gates + 1) * width, hidden, tokens, count});
        shapes.push_back({hidden, width, tokens, count});
    };
    for (std::size_t layer = 0; layer < config.num_layers; ++layer) {
        const std::size_t tokens = layer + 1 < config.num_layers ? rows : reads;
        shapes.push_back({heads.qkv_width(), hidden, rows, 1});
        shapes.push_back({hidden, heads.q_width(), tokens, 1});
        if (std::ranges::count(experts.layers, layer) == 0) {
            feed_forward(config.feed_forward.intermediate_size, tokens, 1);
            continue;
        }
        const std::size_t busy = std::min(experts.count, tokens * experts.active);
        feed_forward(experts.intermediate_size, tokens * experts.active / busy, busy);
        feed_forward(experts.shared_intermediate_size, tokens, 1);
    }
    return shapes;
}

}  // namespace assay::cpu
