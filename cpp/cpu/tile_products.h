// Products of rows with blocks of sixteen packed columns, as attention tiles need them. Included only by
// kernels.cc.
#pragma once

#include <type_traits>

#include "simd.h"

namespace assay::cpu::ASSAY_ISA {

// Rows and vectors of sixteen columns whose sums fit in the registers.
#if defined(__AVX512F__)
inline constexpr std::size_t kRows = 6, kVectors = 4;
#elif defined(__AVX2__)
inline constexpr std::size_t kRows = 3, kVectors = 2;
#else
inline constexpr std::size_t kRows = 2, kVectors = 1;
#endif

// Elements that one step of a product takes from a row: bf16 goes in pairs.
template <typename T>
inline constexpr std::size_t kPair = 4 / sizeof(T);

// Calls `work` once with `count`, which is at most `Most`, as a constant.
template <std::size_t Most, typename Work>
ASSAY_INLINE void by_constant(std::size_t begin, std::size_t count, Work work) {
    if constexpr (Most > 0) {
        if (count == Most)
            work(begin, std::integral_constant<std::size_t, Most>());
        else
            by_constant<Most - 1>(begin, count, work);
    }
}

// Calls `work` with as many rows (or vectors) as registers allow, then with those that are left.
template <std::size_t Most, typename Work>
ASSAY_INLINE void by_parts(std::size_t count, Work work) {
    std::size_t i = 0;
    for (; i + Most <= count; i += Most) work(i, std::integral_constant<std::size_t, Most>());
    by_constant<Most - 1>(i, count - i, work);
}

// The products of each row, [dim], with each block, [dim][16 columns] as in KvCache.
template <typename T, std::size_t Rows, std::size_t Blocks>
ASSAY_INLINE void block_products(const T* (&rows)[Rows], const T* (&blocks)[Blocks], std::size_t dim,
                                 Vec (&sums)[Rows][Blocks]) {
    for (std::size_t r = 0; r < Rows; ++r)
        for (std::size_t b = 0; b < Blocks; ++b) sums[r][b] = Vec{};
    for (std::size_t d = 0; d < dim; d += kPair<T>)
        for (std::size_t b = 0; b < Blocks; ++b)
            for (std::size_t r = 0; r < Rows; ++r)
                sums[r][b] = step(sums[r][b], rows[r] + d, blocks[b] + d * kLanes);
}

}  // namespace assay::cpu::ASSAY_ISA
