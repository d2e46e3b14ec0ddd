// What DeBERTa's attention adds to the scores of one tile: products of queries and keys with embeddings of
// their relative position (arXiv 2006.03654). Included only by kernels.cc.
#pragma once

#include <algorithm>

#include "kernels.h"
#include "simd.h"
#include "tile_products.h"

namespace assay::cpu::ASSAY_ISA {

template <typename T>
struct Disentangled {
    // A step has at most one distance fewer than the tile has rows and keys; blocks of rows start anywhere.
    static constexpr std::size_t kColumns = round_up(kTileRows + kTileKeys - 1 + kLanes - 1, kLanes);

    // Products of the tile's queries with rows of positions, and of rows of positions with the step's keys.
    alignas(64) float of_queries[kTileRows][kColumns];
    alignas(64) float of_keys[kColumns][kTileKeys];

    template <std::size_t Rows, std::size_t Blocks>
    static void multiply(const T* (&rows)[Rows], const T* (&blocks)[Blocks], std::size_t dim, float* out,
                         std::size_t stride) {
        Vec sums[Rows][Blocks];
        block_products(rows, blocks, dim, sums);
        for (std::size_t r = 0; r < Rows; ++r)
            for (std::size_t b = 0; b < Blocks; ++b) store(out + r * stride + b * kLanes, sums[r][b]);
    }

    // Adds to the scores of the step of keys from `begin` on. A product has the same bits in every tile.
    template <typename Work>
    void add(Work& work, std::size_t begin) {
        const RelativeTerms<T>& terms = *work.tile.relative;
        const std::size_t last = work.rows - 1, count = work.visible(last, begin);
        if (count == 0) return;
        // The further a key is before the query, the later is its row.
        const std::size_t lowest = terms.row(work.positions[0], begin + count - 1);
        const std::size_t base = lowest / kLanes * kLanes;
        const std::size_t columns = round_up(terms.row(work.positions[last], begin) + 1 - base, kLanes);
        if (terms.keys != nullptr) multiply_queries(work, terms, base, columns);
        if (terms.queries != nullptr) multiply_keys(work, terms, base, columns, begin, count);
        for (std::size_t row = 0; row < work.rows; ++row) {
            const std::int32_t* rows = terms.rows_from(work.positions[row], begin);
            float* scores = work.scores[row];
            const std::size_t seen = work.visible(row, begin);
            if (terms.keys != nullptr)
                for (std::size_t t = 0; t < seen; ++t)
                    scores[t] += of_queries[row][static_cast<std::size_t>(rows[t]) - base] * work.tile.scale;
            if (terms.queries != nullptr)
                for (std::size_t t = 0; t < seen; ++t)
                    scores[t] += of_keys[static_cast<std::size_t>(rows[t]) - base][t] * work.tile.scale;
        }
    }

    template <typename Work>
    void multiply_queries(const Work& work, const RelativeTerms<T>& terms, std::size_t base,
                          std::size_t columns) {
        const std::size_t dim = work.tile.shape.head_dim;
        const T* keys = terms.keys + work.tile.head * terms.head_stride + base * dim;
        by_parts<kRows>(work.rows, [&](std::size_t row, auto row_count) {
            by_parts<kVectors>(columns / kLanes, [&](std::size_t b, auto block_count) {
                const T* queries[row_count()];
                for (std::size_t r = 0; r < row_count(); ++r) queries[r] = work.queries[row + r];
                const T* blocks[block_count()];
                for (std::size_t i = 0; i < block_count(); ++i) blocks[i] = keys + (b + i) * dim * kLanes;
                multiply(queries, blocks, dim, &of_queries[row][b * kLanes], kColumns);
            });
        });
    }

    template <typename Work>
    void multiply_keys(const Work& work, const RelativeTerms<T>& terms, std::size_t base, std::size_t columns,
                       std::size_t begin, std::size_t count) {
        const std::size_t dim = work.tile.shape.head_dim;
        const T* queries = terms.queries + base * work.tile.shape.q_width() + work.tile.head * dim;
        by_parts<kRows>(columns, [&](std::size_t column, auto row_count) {
            by_parts<kVectors>((count + kLanes - 1) / kLanes, [&](std::size_t b, auto block_count) {
                const T* rows[row_count()];
                for (std::size_t r = 0; r < row_count(); ++r)
                    rows[r] = queries + (column + r) * work.tile.shape.q_width();
                const T* blocks[block_count()];
                for (std::size_t i = 0; i < block_count(); ++i)
                    blocks[i] = work.block(work.keys, begin / kLanes + b + i);
                multiply(rows, blocks, dim, &of_keys[column][b * kLanes], kTileKeys);
            });
        });
    }
};

}  // namespace assay::cpu::ASSAY_ISA
