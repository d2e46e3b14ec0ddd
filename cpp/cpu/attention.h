// One tile of attention with a running softmax. Included only by kernels.cc.
//
// Keys are taken in steps of kTileKeys, from position 0 or from the step with the oldest key of a window.
// What is computed for a query depends on its text and position only: keys that it does not see never enter a
// sum, or enter with a weight of exactly 0, and a step without a new maximum multiplies by exactly 1. So a
// query has the same bits in every tile, chunk and batch.
#pragma once

#include <algorithm>
#include <limits>

#include "disentangled.h"
#include "kernels.h"
#include "simd.h"
#include "tile_products.h"

namespace assay::cpu::ASSAY_ISA {

// Queries of decoders see the keys up to their own, or the newest of them.
struct Causal {
    std::size_t window;  // 0: all

    std::size_t first(std::size_t position) const {
        const std::size_t end = position + 1;
        return window == 0 || end <= window ? 0 : end - window;
    }
    std::size_t end(std::size_t position) const { return position + 1; }
};

// Queries of encoders see the keys of the whole text, or those near their own on both sides.
struct Bidirectional {
    std::size_t window;  // 0: all
    std::size_t text_tokens;

    std::size_t first(std::size_t position) const {
        return window == 0 || position <= window / 2 ? 0 : position - window / 2;
    }
    std::size_t end(std::size_t position) const {
        return window == 0 ? text_tokens : std::min(text_tokens, position + window / 2 + 1);
    }
};

// Nothing is added to the scores.
struct NoBias {
    template <typename Work>
    void add(Work&, std::size_t) {}
};

template <typename T, typename Sight, typename Bias>
struct Attention {
    const AttentionTile<T>& tile;
    const Sight sight;
    Bias bias;
    const std::size_t rows;
    const std::size_t padded_dim;
    const T* const keys;
    const T* const values;
    // A query, which its result replaces, and a position for each row.
    T* queries[kTileRows];
    std::size_t positions[kTileRows];

    alignas(64) float scores[kTileRows][kTileKeys];
    alignas(64) T weights[kTileRows][kTileKeys];
    alignas(64) float outputs[kTileRows][kMaxHeadDim];
    alignas(64) float totals[kTileRows][kLanes];
    float maxima[kTileRows];
    float factors[kTileRows];

    Attention(const AttentionTile<T>& of, const Sight& sight)
        : tile(of),
          sight(sight),
          rows(of.tokens * of.heads),
          padded_dim(round_up(of.shape.head_dim, kLanes)),
          keys(of.cache.base + of.head / of.shape.group() * of.cache.head_stride),
          values(keys + of.cache.value_offset) {
        for (std::size_t token = 0, row = 0; token < of.tokens; ++token)
            for (std::size_t head = 0; head < of.heads; ++head, ++row) {
                queries[row] = of.queries + token * of.row_stride + (of.head + head) * of.shape.head_dim;
                positions[row] = of.position + token;
            }
    }

    // Number of keys from `begin` to the last that a row sees, at most one step's. Later rows see more.
    std::size_t visible(std::size_t row, std::size_t begin) const {
        const std::size_t end = sight.end(positions[row]);
        return end <= begin ? 0 : std::min(end - begin, kTileKeys);
    }

    // First key that a row sees.
    std::size_t first(std::size_t row) const { return sight.first(positions[row]); }

    const T* block(const T* of, std::size_t index) const {
        return of + tile.blocks[index] * tile.cache.block_stride;
    }

    // The values of a key, or of a pair of them.
    const T* value(std::size_t key) const {
        return block(values, key / kTokensPerBlock) + key % kTokensPerBlock * padded_dim;
    }

    template <std::size_t Rows, std::size_t Blocks>
    void score_part(std::size_t row, std::size_t begin, std::size_t column) {
        const T* q[Rows];
        for (std::size_t r = 0; r < Rows; ++r) q[r] = queries[row + r];
        const T* k[Blocks];
        for (std::size_t b = 0; b < Blocks; ++b) k[b] = block(keys, (begin + column) / kLanes + b);
        Vec sums[Rows][Blocks];
        block_products(q, k, tile.shape.head_dim, sums);
        for (std::size_t r = 0; r < Rows; ++r)
            for (std::size_t b = 0; b < Blocks; ++b)
                store(&scores[row + r][column + b * kLanes], sums[r][b] * splat(tile.scale));
    }

    // Scores of every row with those keys of one step that the tile's last row sees.
    void score(std::size_t begin) {
        const std::size_t blocks = (visible(rows - 1, begin) + kLanes - 1) / kLanes;
        by_parts<kRows>(rows, [&](std::size_t row, auto row_count) {
            by_parts<kVectors>(blocks, [&](std::size_t b, auto block_count) {
                score_part<row_count(), block_count()>(row, begin, b * kLanes);
            });
        });
        bias.add(*this, begin);
    }

    // Leaves a row unchanged in a step whose keys are all before its window.
    void skip(std::size_t row) {
        std::fill(weights[row], weights[row] + kTileKeys, T{});
        factors[row] = 1.0f;
    }

    // Caps scores softly. 1 - 2 / (e^2z + 1) is tanh(z).
    void cap(std::size_t row, std::size_t count) {
        for (std::size_t t = 0; t < count; t += kLanes) {
            const Vec twice = load(&scores[row][t]) * splat(2.0f / tile.softcap);
            const Vec tangent = splat(1.0f) - splat(2.0f) / (exp(twice) + splat(1.0f));
            store(&scores[row][t], tangent * splat(tile.softcap));
        }
    }

    // Turns one row's scores into weights relative to its running maximum. The row does not see the first
    // `hidden` of the step's `count` keys.
    void soften(std::size_t row, std::size_t hidden, std::size_t count) {
        if (tile.softcap > 0.0f) cap(row, count);
        for (std::size_t t = 0; t < hidden; ++t) scores[row][t] = -std::numeric_limits<float>::infinity();
        for (std::size_t t = count; t < round_up(count, kLanes); ++t)
            scores[row][t] = -std::numeric_limits<float>::infinity();
        Vec top = splat(maxima[row]);
        for (std::size_t t = 0; t < count; t += kLanes) top = max(top, load(&scores[row][t]));
        const float maximum = largest(top);
        const Vec factor = exp(splat(maxima[row]) - splat(maximum), T{});
        Vec total = load(totals[row]) * factor;
        for (std::size_t t = 0; t < count; t += kLanes) {
            const Vec weight = exp(load(&scores[row][t]) - splat(maximum), T{});
            total = total + weight;
            store_rounded(&weights[row][t], weight);
        }
        store(totals[row], total);
        maxima[row] = maximum;
        float lanes[kLanes];
        store(lanes, factor);
        factors[row] = lanes[0];
    }

    template <std::size_t Rows, std::size_t Vectors>
    void weigh_part(std::size_t row, std::size_t begin, std::size_t from, std::size_t to,
                    std::size_t column) {
        Vec sums[Rows][Vectors];
        for (std::size_t r = 0; r < Rows; ++r)
            for (std::size_t c = 0; c < Vectors; ++c) {
                sums[r][c] = load(&outputs[row + r][column + c * kLanes]);
                if (from == 0) sums[r][c] = sums[r][c] * splat(factors[row + r]);
            }
        const T* w[Rows];
        for (std::size_t r = 0; r < Rows; ++r) w[r] = weights[row + r];
        const std::size_t whole = to / kPair<T> * kPair<T>;
        for (std::size_t t = from; t < whole;) {
            const T* v = value(begin + t) + column * kPair<T>;
            for (const std::size_t end = std::min(whole, round_up(t + 1, kTokensPerBlock)); t < end;
                 t += kPair<T>, v += kPair<T> * padded_dim)
                for (std::size_t c = 0; c < Vectors; ++c)
                    for (std::size_t r = 0; r < Rows; ++r)
                        sums[r][c] = step(sums[r][c], w[r] + t, v + c * kLanes * kPair<T>);
        }
        if (whole < to) {
            const T* v = value(begin + whole) + column * kPair<T>;
            for (std::size_t c = 0; c < Vectors; ++c)
                for (std::size_t r = 0; r < Rows; ++r)
                    sums[r][c] = half_step(sums[r][c], w[r] + whole, v + c * kLanes * kPair<T>);
        }
        for (std::size_t r = 0; r < Rows; ++r)
            for (std::size_t c = 0; c < Vectors; ++c)
                store(&outputs[row + r][column + c * kLanes], sums[r][c]);
    }

    template <std::size_t Rows>
    void weigh_rows(std::size_t row, std::size_t begin, std::size_t from, std::size_t to) {
        by_parts<kVectors>(padded_dim / kLanes, [&](std::size_t c, auto vectors) {
            weigh_part<Rows, vectors()>(row, begin, from, to, c * kLanes);
        });
    }

    // Adds the step's weighted values: for the keys that all rows see together, then for each row's own.
    void weigh(std::size_t begin) {
        by_parts<kRows>(rows, [&](std::size_t row, auto count) {
            constexpr std::size_t kCount = count();
            const std::size_t common = visible(row, begin) / kPair<T> * kPair<T>;
            if (common > 0) weigh_rows<kCount>(row, begin, 0, common);
            for (std::size_t r = row; r < row + kCount; ++r)
                if (visible(r, begin) > common) weigh_rows<1>(r, begin, common, visible(r, begin));
        });
    }

    void finish() {
        for (std::size_t row = 0; row < rows; ++row) {
            const Vec divisor = splat(sum(load(totals[row])));
            T* out = queries[row];
            std::size_t d = 0;
            for (; d + kLanes <= tile.shape.head_dim; d += kLanes)
                store_rounded(out + d, load(&outputs[row][d]) / divisor);
            if (d < tile.shape.head_dim) {
                T last[kLanes];
                store_rounded(last, load(&outputs[row][d]) / divisor);
                std::copy(last, last + (tile.shape.head_dim - d), out + d);
            }
        }
    }

    void run() {
        for (std::size_t row = 0; row < rows; ++row) {
            maxima[row] = -std::numeric_limits<float>::infinity();
            std::fill(outputs[row], outputs[row] + padded_dim, 0.0f);
            std::fill(totals[row], totals[row] + kLanes, 0.0f);
        }
        const std::size_t end = sight.end(positions[rows - 1]);
        for (std::size_t begin = first(0) / kTileKeys * kTileKeys; begin < end; begin += kTileKeys) {
            score(begin);
            for (std::size_t row = 0; row < rows; ++row) {
                const std::size_t count = visible(row, begin);
                if (count == 0) continue;
                const std::size_t hidden = first(row) > begin ? first(row) - begin : 0;
                if (hidden >= count)
                    skip(row);
                else
                    soften(row, hidden, count);
            }
            weigh(begin);
        }
        finish();
    }
};

}  // namespace assay::cpu::ASSAY_ISA
