// Vectors of sixteen floats, in as many registers as the instruction set needs. Included only by kernels.cc,
// which is compiled once for each instruction set, in a namespace of its own.
#pragma once

#if defined(__x86_64__)
// GCC 12 warns of undefined registers in its own intrinsics (its bug 105593).
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wuninitialized"
#ifndef __clang__
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"
#endif
#include <immintrin.h>
#pragma GCC diagnostic pop
#endif

#include <cstddef>
#include <cstdint>
#include <cstring>

#include "types.h"

namespace assay::cpu::ASSAY_ISA {

#if defined(__AVX512F__)
inline constexpr std::size_t kRegister = 16;
#elif defined(__AVX2__)
inline constexpr std::size_t kRegister = 8;
#else
inline constexpr std::size_t kRegister = 4;
#endif
inline constexpr std::size_t kLanes = 16;
inline constexpr std::size_t kParts = kLanes / kRegister;

using Reg [[gnu::vector_size(4 * kRegister)]] = float;
using IntReg [[gnu::vector_size(4 * kRegister)]] = std::int32_t;

struct Vec {
    Reg part[kParts];
};

#define ASSAY_INLINE static inline __attribute__((always_inline))

ASSAY_INLINE Vec splat(float value) {
    Vec result;
    for (std::size_t i = 0; i < kParts; ++i) result.part[i] = Reg{} + value;
    return result;
}

ASSAY_INLINE Vec load(const float* from) {
    Vec result;
    std::memcpy(&result, from, sizeof result);
    return result;
}

ASSAY_INLINE void store(float* to, const Vec& value) { std::memcpy(to, &value, sizeof value); }

ASSAY_INLINE Vec operator+(const Vec& a, const Vec& b) {
    Vec result;
    for (std::size_t i = 0; i < kParts; ++i) result.part[i] = a.part[i] + b.part[i];
    return result;
}

ASSAY_INLINE Vec operator-(const Vec& a, const Vec& b) {
    Vec result;
    for (std::size_t i = 0; i < kParts; ++i) result.part[i] = a.part[i] - b.part[i];
    return result;
}

ASSAY_INLINE Vec operator*(const Vec& a, const Vec& b) {
    Vec result;
    for (std::size_t i = 0; i < kParts; ++i) result.part[i] = a.part[i] * b.part[i];
    return result;
}

ASSAY_INLINE Vec operator/(const Vec& a, const Vec& b) {
    Vec result;
    for (std::size_t i = 0; i < kParts; ++i) result.part[i] = a.part[i] / b.part[i];
    return result;
}

// a * b + c, rounded once if the processor can.
ASSAY_INLINE Vec fma(const Vec& a, const Vec& b, const Vec& c) {
    Vec result;
    for (std::size_t i = 0; i < kParts; ++i) {
#if defined(__AVX512F__)
        result.part[i] = _mm512_fmadd_ps(a.part[i], b.part[i], c.part[i]);
#elif defined(__FMA__)
        result.part[i] = _mm256_fmadd_ps(a.part[i], b.part[i], c.part[i]);
#else
        result.part[i] = a.part[i] * b.part[i] + c.part[i];
#endif
    }
    return result;
}

// The larger of each pair; b if either is NaN.
ASSAY_INLINE Vec max(const Vec& a, const Vec& b) {
    Vec result;
    for (std::size_t i = 0; i < kParts; ++i) {
#if defined(__AVX512F__)
        result.part[i] = _mm512_max_ps(a.part[i], b.part[i]);
#else
        result.part[i] = a.part[i] > b.part[i] ? a.part[i] : b.part[i];
#endif
    }
    return result;
}

#if defined(__AVX512F__)
// Combines the sixteen lanes: those of the first half with those of the second, and so on.
template <typename Combine>
ASSAY_INLINE float reduce(const Vec& value, Combine combine) {
    const __m128 quarters[] = {
        _mm512_castps512_ps128(value.part[0]), _mm512_extractf32x4_ps(value.part[0], 1),
        _mm512_extractf32x4_ps(value.part[0], 2), _mm512_extractf32x4_ps(value.part[0], 3)};
    const __m128 four = combine(combine(quarters[0], quarters[2]), combine(quarters[1], quarters[3]));
    const __m128 two = combine(four, _mm_movehl_ps(four, four));
    return _mm_cvtss_f32(combine(two, _mm_movehdup_ps(two)));
}
ASSAY_INLINE float sum(const Vec& value) {
    return reduce(value, [](__m128 a, __m128 b) { return _mm_add_ps(a, b); });
}
ASSAY_INLINE float largest(const Vec& value) {
    return reduce(value, [](__m128 a, __m128 b) { return _mm_max_ps(a, b); });
}
#else
// Adds the sixteen lanes in a fixed order.
ASSAY_INLINE float sum(const Vec& value) {
    float lanes[kLanes];
    store(lanes, value);
    for (std::size_t half = kLanes / 2; half > 0; half /= 2)
        for (std::size_t i = 0; i < half; ++i) lanes[i] += lanes[i + half];
    return lanes[0];
}
ASSAY_INLINE float largest(const Vec& value) {
    float lanes[kLanes];
    store(lanes, value);
    for (std::size_t half = kLanes / 2; half > 0; half /= 2)
        for (std::size_t i = 0; i < half; ++i)
            lanes[i] = lanes[i] > lanes[i + half] ? lanes[i] : lanes[i + half];
    return lanes[0];
}
#endif

// Multiplies each lane by 2^n, n being the low bits of `shifted`: adds them to the exponent.
ASSAY_INLINE Vec scale_by_power(const Vec& value, const Vec& shifted) {
    Vec result;
    for (std::size_t i = 0; i < kParts; ++i)
        result.part[i] = (Reg)((IntReg)value.part[i] + ((IntReg)shifted.part[i] << 23));
    return result;
}

// 0 where x is below the limit, x where it is NaN, otherwise the value.
ASSAY_INLINE Vec zero_below(const Vec& x, float limit, const Vec& value) {
    Vec result;
    for (std::size_t i = 0; i < kParts; ++i) {
        const Reg kept = x.part[i] < limit ? Reg{} : value.part[i];
        // NOLINTNEXTLINE(misc-redundant-expression): false for NaN.
        result.part[i] = x.part[i] == x.part[i] ? kept : x.part[i];
    }
    return result;
}

// e^x to about one unit in the last place; exactly 1 at 0, exactly 0 below -87, e^88 above 88.
// The polynomial is that of Cephes' expf.
ASSAY_INLINE Vec exp(const Vec& x) {
    const Vec v = max(splat(-87.0f), splat(0.0f) - max(splat(-88.0f), splat(0.0f) - x));
    // v = n ln 2 + r; adding 1.5 * 2^23 rounds to an integer, which the low bits then hold.
    const Vec magic = splat(12582912.0f);
    const Vec shifted = fma(v, splat(1.44269504f), magic);
    const Vec n = shifted - magic;
    const Vec r = fma(n, splat(2.12194440e-4f), fma(n, splat(-0.693359375f), v));
    Vec p = splat(1.9875691500e-4f);
    p = fma(p, r, splat(1.3981999507e-3f));
    p = fma(p, r, splat(8.3334519073e-3f));
    p = fma(p, r, splat(4.1665795894e-2f));
    p = fma(p, r, splat(1.6666665459e-1f));
    p = fma(p, r, splat(5.0000001201e-1f));
    p = fma(p, r * r, r) + splat(1.0f);
    return zero_below(x, -87.0f, scale_by_power(p, shifted));
}

// e^x, as exact as numbers of the second argument's type need it.
ASSAY_INLINE Vec exp(const Vec& x, float) { return exp(x); }

// Loads sixteen elements of the engine's format, or stores them, rounded to nearest even.
ASSAY_INLINE Vec load_as_float(const float* from) { return load(from); }
ASSAY_INLINE void store_rounded(float* to, const Vec& value) { store(to, value); }

// A step of a product: `a` is one element (f32) or two (bf16) of the left row, `b` as many for each of
// sixteen columns.
ASSAY_INLINE Vec step(const Vec& sum, const float* a, const float* b) { return fma(splat(*a), load(b), sum); }
ASSAY_INLINE Vec half_step(const Vec& sum, const float* a, const float* b) { return step(sum, a, b); }

#if defined(__AVX512BF16__)
// Within 3e-6 of e^x, where bf16 rounds by up to 4e-3, to -104 or so; exactly 1 at 0, exactly 0 below -105.
ASSAY_INLINE Vec exp(const Vec& x, bf16) {
    // e^x = 2^v = 2^n 2^r, n being the integer nearest to v.
    const Vec v = max(splat(-160.0f), x * splat(1.44269504f));
    const Vec n = {{_mm512_roundscale_ps(v.part[0], _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC)}};
    const Vec r = v - n;
    Vec p = splat(9.58285294e-3f);
    p = fma(p, r, splat(5.59064262e-2f));
    p = fma(p, r, splat(2.40240991e-1f));
    p = fma(p, r, splat(6.93124175e-1f));
    p = fma(p, r, splat(1.0f));
    return {{_mm512_scalef_ps(p.part[0], n.part[0])}};
}
ASSAY_INLINE Vec load_as_float(const bf16* from) {
    using Halves [[gnu::vector_size(32)]] = std::uint16_t;
    using Words [[gnu::vector_size(64)]] = std::uint32_t;
    Halves halves;
    std::memcpy(&halves, from, sizeof halves);
    return {{(Reg)(__builtin_convertvector(halves, Words) << 16)}};
}
ASSAY_INLINE void store_rounded(bf16* to, const Vec& value) {
    const __m256bh rounded = _mm512_cvtneps_pbh(value.part[0]);
    std::memcpy(to, &rounded, sizeof rounded);
}
ASSAY_INLINE Vec dot_pairs(const Vec& sum, const bf16* a, __m512i b) {
    std::int32_t pair;
    std::memcpy(&pair, a, sizeof pair);
    return {{_mm512_dpbf16_ps(sum.part[0], reinterpret_cast<__m512bh>(_mm512_set1_epi32(pair)),
                              reinterpret_cast<__m512bh>(b))}};
}
ASSAY_INLINE Vec step(const Vec& sum, const bf16* a, const bf16* b) {
    return dot_pairs(sum, a, _mm512_loadu_si512(b));
}
// Ignores the second of each pair, which may hold anything.
ASSAY_INLINE Vec half_step(const Vec& sum, const bf16* a, const bf16* b) {
    const __m512i first = _mm512_set1_epi32(0xffff);
    return dot_pairs(sum, a, _mm512_and_si512(_mm512_loadu_si512(b), first));
}
#endif

}  // namespace assay::cpu::ASSAY_ISA
