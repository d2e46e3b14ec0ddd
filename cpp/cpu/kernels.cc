// Compiled once for each instruction set, with ASSAY_ISA naming it; see CMakeLists.txt.
#include "kernels.h"

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
void embed(const T* row, std::size_t n, float* x) {
    for (std::size_t i = 0; i < n; ++i) x[i] = widen(row[i]);
}

template <typename T>
void rms_norm(const float* x, const float* weight, float eps, std::size_t n, T* y) {
    const std::size_t whole = n / kLanes * kLanes;
    Vec squares = {};
    for (std::size_t i = 0; i < whole; i += kLanes) squares = fma(load(x + i), load(x + i), squares);
    float total = sum(squares);
    for (std::size_t i = whole; i < n; ++i) total += x[i] * x[i];
    const float factor = 1.0f / std::sqrt(total / static_cast<float>(n) + eps);
    for (std::size_t i = 0; i < whole; i += kLanes)
        store_rounded(y + i, load(x + i) * splat(factor) * load(weight + i));
    for (std::size_t i = whole; i < n; ++i) y[i] = narrow<T>(x[i] * factor * weight[i]);
}

// Rotates one head in place of `out`, [head_dim].
void rotate(const float* head, const float* cosines, const float* sines, std::size_t half, float* out) {
    for (std::size_t i = 0; i < half; ++i) {
        out[i] = head[i] * cosines[i] - head[i + half] * sines[i];
        out[i + half] = head[i + half] * cosines[i] + head[i] * sines[i];
    }
}

template <typename T>
void narrow_row(const float* from, std::size_t n, T* to) {
    std::size_t i = 0;
    for (; i + kLanes <= n; i += kLanes) store_rounded(to + i, load(from + i));
    for (; i < n; ++i) to[i] = narrow<T>(from[i]);
}

template <typename T>
void rope(const HeadShape& shape, const float* qkv, const float* cosines, const float* sines,
          std::size_t slot, const CacheView<T>& cache, T* queries) {
    const std::size_t dim = shape.head_dim;
    const std::size_t padded = round_up(dim, kLanes);
    float rotated[kMaxHeadDim];
    T rounded[kMaxHeadDim];
    for (std::size_t h = 0; h < shape.heads; ++h) {
        rotate(qkv + h * dim, cosines, sines, dim / 2, rotated);
        narrow_row(rotated, dim, queries + h * dim);
    }
    for (std::size_t h = 0; h < shape.kv_heads; ++h) {
        T* keys = cache.base + h * cache.head_stride;
        T* values = keys + cache.value_offset;
        rotate(qkv + shape.q_width() + h * dim, cosines, sines, dim / 2, rotated);
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
    Attention<T> work(tile);
    work.run();
}

template <typename T>
void silu(const T* gate_up, std::size_t n, T* y) {
    std::size_t i = 0;
    for (; i + kLanes <= n; i += kLanes) {
        const Vec gate = load_as_float(gate_up + i);
        const Vec up = load_as_float(gate_up + n + i);
        store_rounded(y + i, gate / (splat(1.0f) + exp(splat(0.0f) - gate)) * up);
    }
    for (; i < n; ++i) {
        const float gate = widen(gate_up[i]);
        y[i] = narrow<T>(gate / (1.0f + std::exp(-gate)) * widen(gate_up[n + i]));
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
constexpr Kernels<T> kTable{&embed<T>, &rms_norm<T>, &rope<T>,        &attention<T>,
                            &silu<T>,  &head_logits, &rms_norm<float>};

}  // namespace

extern const Kernels<float> kFloatKernels;
const Kernels<float> kFloatKernels = kTable<float>;
#if defined(__AVX512BF16__)
extern const Kernels<bf16> kBf16Kernels;
const Kernels<bf16> kBf16Kernels = kTable<bf16>;
#endif

}  // namespace assay::cpu::ASSAY_ISA
