// Number formats and errors of the CPU engine.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <stdexcept>
#include <string>

namespace assay::cpu {

// Format of numbers: of weights F32, BF16 or S8, of activations and KV cache F32 or BF16, of the sums of
// S8 products S32.
enum class Dtype : std::uint8_t { F32, BF16, S8, S32 };

// What the feed-forward network does between its products: silu(gate) * up, gelu(gate) * up with the
// tangent's approximation, or relu(up)^2.
enum class Activation : std::uint8_t { Silu, GeluTanh, Relu2 };

// A bfloat16: the upper half of a float.
struct bf16 {
    std::uint16_t bits;
};

constexpr std::size_t size_of(Dtype dtype) { return dtype == Dtype::S8 ? 1 : dtype == Dtype::BF16 ? 2 : 4; }

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

// Tokens that one KV block holds: the lanes of one 512-bit register of scores.
inline constexpr std::size_t kTokensPerBlock = 16;

// What was asked for cannot be done; the text is for the user.
struct EngineError : std::runtime_error {
    using std::runtime_error::runtime_error;
};

}  // namespace assay::cpu
