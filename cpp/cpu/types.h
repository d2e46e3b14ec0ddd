// Number formats of the CPU engine.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>

namespace assay::cpu {

// Number formats: weights are F32, Bf16 or Int8, activations and the KV cache F32 or Bf16, and the sums of
// Int8 products Int32.
enum class Dtype : std::uint8_t { F32, Bf16, Int8, Int32 };

// What the feed-forward network computes between its products: silu(gate) * up, gelu(gate) * up with the tanh
// approximation, relu(up)^2, gelu(up), gelu(gate) * up, or gelu(up) with the tanh approximation.
enum class Activation : std::uint8_t { Silu, GeluTanh, Relu2, Gelu, GatedGelu, PlainGeluTanh };

// Whether the network has a gate projection.
constexpr bool gated(Activation activation) {
    return activation == Activation::Silu || activation == Activation::GeluTanh ||
           activation == Activation::GatedGelu;
}

// The upper half of a float.
struct bf16 {
    std::uint16_t bits;
};

constexpr std::size_t size_of(Dtype dtype) { return dtype == Dtype::Int8 ? 1 : dtype == Dtype::Bf16 ? 2 : 4; }

constexpr std::size_t round_up(std::size_t value, std::size_t step) {
    return (value + step - 1) / step * step;
}

inline float widen(float value) { return value; }
inline float widen(bf16 value) {
    const std::uint32_t bits = static_cast<std::uint32_t>(value.bits) << 16;
    float result;
    std::memcpy(&result, &bits, sizeof result);
    return result;
}

// Format of activations of a type.
template <typename T>
inline constexpr Dtype kDtype = sizeof(T) == 4 ? Dtype::F32 : Dtype::Bf16;

// Tokens that one KV block holds: their scores fill one 512-bit register.
inline constexpr std::size_t kTokensPerBlock = 16;

}  // namespace assay::cpu
