// The computations between matrix products, compiled once for each instruction set; `kernels_for` chooses.
//
// Each function computes one row or one tile of attention; callers spread rows over threads. The arithmetic
// of one row never depends on another row.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>

#include "types.h"

namespace assay::cpu {

// Sizes of attention.
struct HeadShape {
    std::size_t heads;
    std::size_t kv_heads;
    std::size_t head_dim;

    std::size_t group() const { return heads / kv_heads; }
    std::size_t q_width() const { return heads * head_dim; }
    std::size_t kv_width() const { return kv_heads * head_dim; }
    std::size_t qkv_width() const { return q_width() + 2 * kv_width(); }
};

// Maximum number of rows (queries x heads) of one attention tile.
inline constexpr std::size_t kTileRows = 64;
// Keys that each update of the running softmax takes.
inline constexpr std::size_t kTileKeys = 64;
// Largest head.
inline constexpr std::size_t kMaxHeadDim = 256;

// One layer's keys and values, see KvCache.
template <typename T>
struct CacheView {
    T* base;
    std::size_t block_stride;  // elements from one block to the next
    std::size_t head_stride;   // elements from one head to the next
    std::size_t value_offset;  // elements from a head's keys to its values
};

// Rows of one layer's embeddings of relative positions, as keys and as queries.
template <typename T>
struct RelativeTerms {
    const T* keys;  // [heads][rows / 16], laid out as a block's keys; null: queries have no such product
    std::size_t head_stride;          // elements from one head's keys to the next
    const T* queries;                 // [rows, q_width]; null: keys have no such product
    const std::int32_t* by_distance;  // the row for key j and query i is at j - i, negative ones included

    const std::int32_t* rows_from(std::size_t query, std::size_t key) const {
        return by_distance + (static_cast<std::ptrdiff_t>(key) - static_cast<std::ptrdiff_t>(query));
    }
    std::size_t row(std::size_t query, std::size_t key) const {
        return static_cast<std::size_t>(*rows_from(query, key));
    }
};

// Queries of adjacent tokens of one sequence, for heads that share a key-value head.
template <typename T>
struct AttentionTile {
    HeadShape shape;
    CacheView<T> cache;
    const std::uint32_t* blocks;  // the sequence's block table
    T* queries;                   // first token's row; outputs overwrite the queries
    std::size_t row_stride;       // elements from one token's row to the next
    std::size_t tokens;
    std::size_t position;  // of the first token
    std::size_t head;      // first query head
    std::size_t heads;     // query heads, all sharing one key-value head
    float scale;           // on the scores
    float softcap;         // scores become softcap * tanh(score / softcap); 0: no cap
    std::size_t window;    // newest keys that a query sees, its own included; 0: all
    // If not 0, the text has this many tokens and queries see keys on both sides; a window is then centred on
    // the query.
    std::size_t text_tokens = 0;
    const RelativeTerms<T>* relative = nullptr;  // null: none; only if queries see both sides
};

// An RMS norm's weights; with a bias, a layer norm's; without weights, no norm.
struct NormWeights {
    const float* weight;
    const float* bias;
    float eps;
};

// How to rotate one token's queries and keys: cosines and sines, [dim / 2], for the first `dim` numbers of
// each head. Before that each head is normed, unless the weights are null.
struct Rotation {
    const float* cosines;
    const float* sines;
    std::size_t dim;
    NormWeights query_norm;
    NormWeights key_norm;
    float query_factor = 1.0f;  // on rotated queries
};

// A row of sums of int8 products, [n]; each means sum * row * columns (+ bias).
struct Dequantized {
    const std::int32_t* sums;
    float row;
    const float* columns;
    const float* bias;  // null: none
    std::size_t n;
};

// Kernels for one number format.
template <typename T>
struct Kernels {
    // Widens an embedding row and multiplies it by `scale`.
    void (*embed)(const T* row, float scale, std::size_t n, float* x);
    // y = norm(x), or x if there is no norm.
    void (*norm)(const float* x, const NormWeights& norm, std::size_t n, T* y);
    // y += norm(x), in f32.
    void (*add_normed)(const float* x, const NormWeights& norm, std::size_t n, float* y);
    // Rotates one token's queries and keys. Queries go to `queries`, keys and values to slot `slot` of the
    // block at `cache.base`. `qkv` is [qkv_width].
    void (*rope)(const HeadShape& shape, const float* qkv, const Rotation& rotation, std::size_t slot,
                 const CacheView<T>& cache, T* queries);
    // Attention over the positions that each query sees.
    void (*attention)(const AttentionTile<T>& tile);
    // y = activation of a row that holds the gates, if the activation has any, and then the ups, all to be
    // multiplied by `factor` first.
    void (*activate)(Activation activation, const T* gate_up, float factor, std::size_t n, T* y);
    // Rounds x / scale to integers with a largest magnitude of 127. Returns the scale; 0 if all numbers are
    // 0.
    float (*quantize)(const T* x, std::size_t n, std::int8_t* y);
    // Sets y to the values of the sums, or adds them to y.
    void (*dequantize)(const Dequantized& from, bool add, float* y);
    void (*dequantize_rounded)(const Dequantized& from, T* y);
    // The products of the head's rows with x.
    void (*head)(const float* head, const float* x, std::size_t rows, std::size_t n, float* logits);
    // As `norm`, in f32. `y` may be `x`.
    void (*norm_f32)(const float* x, const NormWeights& norm, std::size_t n, float* y);
};

// The kernels for an instruction set as oneDNN names it.
template <typename T>
const Kernels<T>& kernels_for(std::string_view instruction_set);

}  // namespace assay::cpu
