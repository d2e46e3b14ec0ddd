// Compiled once for each instruction set, with ASSAY_ISA naming it; see CMakeLists.txt.
#include "kernels.h"

#include <algorithm>
#include <cmath>

#include "attention.h"
#include "simd.h"

namespace assay::cpu::ASSAY_ISA {
namespace {

template <typename T>
T narrow(float value) {
    T lanes[kLanes];
    store_rounded(lanes, splat(value));
    return lanes[0];
}

template <typename T>
void narrow_row(const float* from, std::size_t n, T* to) {
    std::size_t i = 0;
    for (; i + kLanes <= n; i += kLanes) store_rounded(to + i, load(from + i));
    for (; i < n; ++i) to[i] = narrow<T>(from[i]);
}

template <typename T>
void embed(const T* row, float scale, std::size_t n, float* x) {
    for (std::size_t i = 0; i < n; ++i) x[i] = widen(row[i]) * scale;
}

// Sum of (x - mean)^2.
float squares(const float* x, float mean, std::size_t n) {
    const std::size_t whole = n / kLanes * kLanes;
    Vec sums = {};
    for (std::size_t i = 0; i < whole; i += kLanes) {
        const Vec centred = load(x + i) - splat(mean);
        sums = fma(centred, centred, sums);
    }
    float total = sum(sums);
    for (std::size_t i = whole; i < n; ++i) total += (x[i] - mean) * (x[i] - mean);
    return total;
}

float mean_of(const float* x, std::size_t n) {
    const std::size_t whole = n / kLanes * kLanes;
    Vec sums = {};
    for (std::size_t i = 0; i < whole; i += kLanes) sums = sums + load(x + i);
    float total = sum(sums);
    for (std::size_t i = whole; i < n; ++i) total += x[i];
    return total / static_cast<float>(n);
}

float inverse_deviation(float squares, float eps, std::size_t n) {
    return 1.0f / std::sqrt(squares / static_cast<float>(n) + eps);
}

template <typename T>
void layer_norm(const float* x, const NormWeights& norm, std::size_t n, T* y) {
    const std::size_t whole = n / kLanes * kLanes;
    const float mean = mean_of(x, n);
    const float factor = inverse_deviation(squares(x, mean, n), norm.eps, n);
    for (std::size_t i = 0; i < whole; i += kLanes) {
        const Vec centred = (load(x + i) - splat(mean)) * splat(factor);
        store_rounded(y + i, fma(centred, load(norm.weight + i), load(norm.bias + i)));
    }
    for (std::size_t i = whole; i < n; ++i)
        y[i] = narrow<T>((x[i] - mean) * factor * norm.weight[i] + norm.bias[i]);
}

template <typename T>
void norm(const float* x, const NormWeights& norm, std::size_t n, T* y) {
    if (norm.weight == nullptr) return narrow_row(x, n, y);
    if (norm.bias != nullptr) return layer_norm(x, norm, n, y);
    const std::size_t whole = n / kLanes * kLanes;
    const float factor = inverse_deviation(squares(x, 0.0f, n), norm.eps, n);
    for (std::size_t i = 0; i < whole; i += kLanes)
        store_rounded(y + i, load(x + i) * splat(factor) * load(norm.weight + i));
    for (std::size_t i = whole; i < n; ++i) y[i] = narrow<T>(x[i] * factor * norm.weight[i]);
}

void add_normed(const float* x, const NormWeights& norm, std::size_t n, float* y) {
    const float factor = inverse_deviation(squares(x, 0.0f, n), norm.eps, n);
    for (std::size_t i = 0; i < n; ++i) y[i] += x[i] * factor * norm.weight[i];
}

// Norms one head, [width], if the model does, and rotates it.
void rotate(const float* head, const Rotation& by, const NormWeights& head_norm, std::size_t width,
            float* out) {
    float normed[kMaxHeadDim];
    if (head_norm.weight != nullptr) {
        norm(head, head_norm, width, normed);
        head = normed;
    }
    const std::size_t half = by.dim / 2;
    for (std::size_t i = 0; i < half; ++i) {
        out[i] = head[i] * by.cosines[i] - head[i + half] * by.sines[i];
        out[i + half] = head[i + half] * by.cosines[i] + head[i] * by.sines[i];
    }
    for (std::size_t i = by.dim; i < width; ++i) out[i] = head[i];
}

template <typename T>
void rope(const HeadShape& shape, const float* qkv, const Rotation& rotation, std::size_t slot,
          const CacheView<T>& cache, T* queries) {
    const std::size_t dim = shape.head_dim;
    const std::size_t padded = round_up(dim, kLanes);
    float rotated[kMaxHeadDim];
    T rounded[kMaxHeadDim];
    for (std::size_t h = 0; h < shape.heads; ++h) {
        rotate(qkv + h * dim, rotation, rotation.query_norm, dim, rotated);
        if (rotation.query_factor != 1.0f)
            for (std::size_t d = 0; d < dim; ++d) rotated[d] *= rotation.query_factor;
        narrow_row(rotated, dim, queries + h * dim);
    }
    for (std::size_t h = 0; h < shape.kv_heads; ++h) {
        T* keys = cache.base + h * cache.head_stride;
        T* values = keys + cache.value_offset;
        rotate(qkv + shape.q_width() + h * dim, rotation, rotation.key_norm, dim, rotated);
        narrow_row(rotated, dim, rounded);
        for (std::size_t d = 0; d < dim; ++d)
            keys[d / kPair<T> * kPair<T> * kTokensPerBlock + slot * kPair<T> + d % kPair<T>] = rounded[d];
        narrow_row(qkv + shape.q_width() + shape.kv_width() + h * dim, dim, rounded);
        for (std::size_t d = 0; d < dim; ++d)
            values[slot / kPair<T> * kPair<T> * padded + d * kPair<T> + slot % kPair<T>] = rounded[d];
    }
}

template <typename T>
void attention(const AttentionTile<T>& tile) {
    if (tile.text_tokens == 0) {
        Attention<T, Causal, NoBias>(tile, {tile.window}).run();
    } else if (tile.relative == nullptr) {
        Attention<T, Bidirectional, NoBias>(tile, {tile.window, tile.text_tokens}).run();
    } else {
        Attention<T, Bidirectional, Disentangled<T>>(tile, {tile.window, tile.text_tokens}).run();
    }
}

// Activations, as exact as numbers of type T need them. Lambdas, since their types let the compiler inline
// them.
template <typename T>
constexpr auto silu = [](const Vec& x) { return x / (splat(1.0f) + exp(splat(0.0f) - x, T{})); };

// x (1 + tanh(z)) / 2 = x / (1 + e^-2z) with z = sqrt(2 / pi) (x + 0.044715 x^3).
template <typename T>
constexpr auto gelu_tanh = [](const Vec& x) {
    const Vec cubic = fma(x * x * x, splat(0.044715f), x);
    return x / (splat(1.0f) + exp(cubic * splat(-1.5957691216f), T{}));
};

// x Phi(x). For x >= 0 the tail q = Phi(-x) is e^(-x^2 / 2) times a polynomial (Abramowitz and Stegun 7.1.26,
// within 1e-7), and Phi(x) = 1 - q; so the product is max(x, 0) - |x| q for any sign.
template <typename T>
constexpr auto gelu = [](const Vec& x) {
    const Vec size = max(x, splat(0.0f) - x);
    const Vec t = splat(1.0f) / fma(size, splat(0.3275911f * 0.70710678f), splat(1.0f));
    Vec tail = fma(t, splat(0.5f * 1.061405429f), splat(0.5f * -1.453152027f));
    tail = fma(t, tail, splat(0.5f * 1.421413741f));
    tail = fma(t, tail, splat(0.5f * -0.284496736f));
    tail = fma(t, tail, splat(0.5f * 0.254829592f)) * t * exp(size * size * splat(-0.5f), T{});
    return max(splat(0.0f), x) - size * tail;
};

constexpr auto relu2 = [](const Vec& x) {
    const Vec positive = max(splat(0.0f), x);
    return positive * positive;
};

// y = function(gate) * up, or function(gate) if `up` is null. The tail goes through whole vectors too, so
// that a number's bits do not depend on its index.
template <typename T, typename Function>
void activate_with(Function function, const T* gate, const T* up, float factor, std::size_t n, T* y) {
    const auto lanes = [&](const T* g, const T* u, T* out) {
        const Vec value = function(load_as_float(g) * splat(factor));
        store_rounded(out, u == nullptr ? value : value * (load_as_float(u) * splat(factor)));
    };
    std::size_t i = 0;
    for (; i + kLanes <= n; i += kLanes) lanes(gate + i, up == nullptr ? nullptr : up + i, y + i);
    if (i == n) return;
    T gates[kLanes] = {}, ups[kLanes] = {}, results[kLanes];
    std::copy(gate + i, gate + n, gates);
    if (up != nullptr) std::copy(up + i, up + n, ups);
    lanes(gates, up == nullptr ? nullptr : ups, results);
    std::copy(results, results + (n - i), y + i);
}

template <typename T>
void activate(Activation activation, const T* gate_up, float factor, std::size_t n, T* y) {
    switch (activation) {
        case Activation::Silu:
            return activate_with(silu<T>, gate_up, gate_up + n, factor, n, y);
        case Activation::GeluTanh:
            return activate_with(gelu_tanh<T>, gate_up, gate_up + n, factor, n, y);
        case Activation::Relu2:
            return activate_with<T>(relu2, gate_up, nullptr, factor, n, y);
        case Activation::Gelu:
            return activate_with<T>(gelu<T>, gate_up, nullptr, factor, n, y);
        case Activation::GatedGelu:
            return activate_with(gelu<T>, gate_up, gate_up + n, factor, n, y);
        case Activation::PlainGeluTanh:
            return activate_with<T>(gelu_tanh<T>, gate_up, nullptr, factor, n, y);
    }
}

template <typename T>
float quantize(const T* x, std::size_t n, std::int8_t* y) {
    const std::size_t whole = n / kLanes * kLanes;
    Vec most = {}, faults = {};
    for (std::size_t i = 0; i < whole; i += kLanes) {
        const Vec value = load_as_float(x + i);
        most = max(most, max(value, splat(0.0f) - value));
        // NOLINTNEXTLINE(misc-redundant-expression): NaN unless the value is finite.
        faults = faults + (value - value);
    }
    float top = largest(most), fault = sum(faults);
    for (std::size_t i = whole; i < n; ++i) {
        top = std::max(top, std::abs(widen(x[i])));
        fault += widen(x[i]) - widen(x[i]);
    }
    // `fault` is 0 unless a number is not finite; then it makes the scale NaN, and so the score.
    const float scale = top / 127.0f + fault;
    const float inverse = scale > 0.0f ? 1.0f / scale : 0.0f;
    for (std::size_t i = 0; i < n; ++i) {
        // Adding 1.5 * 2^23 rounds to an integer, which the low bits then hold.
        const float shifted = widen(x[i]) * inverse + 12582912.0f;
        std::int32_t bits;
        std::memcpy(&bits, &shifted, sizeof bits);
        y[i] = static_cast<std::int8_t>(bits - 0x4b400000);
    }
    return scale;
}

float dequantized(const Dequantized& from, std::size_t i) {
    const float value = static_cast<float>(from.sums[i]) * (from.row * from.columns[i]);
    return from.bias == nullptr ? value : value + from.bias[i];
}

void dequantize(const Dequantized& from, bool add, float* y) {
    if (add)
        for (std::size_t i = 0; i < from.n; ++i) y[i] += dequantized(from, i);
    else
        for (std::size_t i = 0; i < from.n; ++i) y[i] = dequantized(from, i);
}

template <typename T>
void dequantize_rounded(const Dequantized& from, T* y) {
    float values[kLanes];
    for (std::size_t begin = 0; begin < from.n; begin += kLanes) {
        const std::size_t count = std::min(kLanes, from.n - begin);
        for (std::size_t i = 0; i < count; ++i) values[i] = dequantized(from, begin + i);
        narrow_row(values, count, y + begin);
    }
}

void head_logits(const float* head, const float* x, std::size_t rows, std::size_t n, float* logits) {
    const std::size_t whole = n / kLanes * kLanes;
    for (std::size_t row = 0; row < rows; ++row, head += n) {
        Vec products = {};
        for (std::size_t i = 0; i < whole; i += kLanes) products = fma(load(head + i), load(x + i), products);
        logits[row] = sum(products);
        for (std::size_t i = whole; i < n; ++i) logits[row] += head[i] * x[i];
    }
}

template <typename T>
constexpr Kernels<T> kTable{&embed<T>,    &norm<T>,      &add_normed,
                            &rope<T>,     &attention<T>, &activate<T>,
                            &quantize<T>, &dequantize,   &dequantize_rounded<T>,
                            &head_logits, &norm<float>};

}  // namespace

extern const Kernels<float> kFloatKernels;
const Kernels<float> kFloatKernels = kTable<float>;
#if defined(__AVX512BF16__)
extern const Kernels<bf16> kBf16Kernels;
const Kernels<bf16> kBf16Kernels = kTable<bf16>;
#endif

}  // namespace assay::cpu::ASSAY_ISA
