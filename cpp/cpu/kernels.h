// What lies between the matrix products. Compiled once for each instruction set; `kernels_for` chooses.
//
// Each function does one row, or one tile of attention: whoever calls it spreads rows over threads. None
// of them lets the arithmetic of one row depend on another row.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>

#include "types.h"

namespace assay::cpu {

// Sizes of the attention.
struct HeadShape {
    std::size_t heads;
    std::size_t kv_heads;
    std::size_t head_dim;

    std::size_t group() const { return heads / kv_heads; }
    std::size_t q_width() const { return heads * head_dim; }
    std::size_t kv_width() const { return kv_heads * head_dim; }
    std::size_t qkv_width() const { return q_width() + 2 * kv_width(); }
};

// Most rows (queries x heads) of one attention tile.
inline constexpr std::size_t kTileRows = 64;
// Keys between two updates of the running softmax.
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

// Queries of adjacent tokens of one sequence and some heads that share a key-value head.
template <typename T>
struct AttentionTile {
    HeadShape shape;
    CacheView<T> cache;
    const std::uint32_t* blocks;  // the sequence's block table
    T* queries;                   // first token's row; outputs take its place
    std::size_t row_stride;       // elements from one token's row to the next
    std::size_t tokens;
    std::size_t position;  // of the first token
    std::size_t head;      // first query head
    std::size_t heads;     // query heads, all of one key-value head
    float scale;           // on the scores
};

// Kernels for one number format.
template <typename T>
struct Kernels {
    // Widens an embedding row.
    void (*embed)(const T* row, std::size_t n, float* x);
    // y = x / rms(x) * weight.
    void (*rms_norm)(const float* x, const float* weight, float eps, std::size_t n, T* y);
    // Rotates one token's queries and keys and stores queries to `queries`, keys and values to slot `slot`
    // of the block that `cache.base` stands at. `qkv` is [qkv_width], cosines and sines [head_dim / 2].
    void (*rope)(const HeadShape& shape, const float* qkv, const float* cosines, const float* sines,
                 std::size_t slot, const CacheView<T>& cache, T* queries);
    // Causal attention over positions 0.. of the sequence.
    void (*attention)(const AttentionTile<T>& tile);
    // y = silu(gate) * up, of a row of gates and then ups.
    void (*silu)(const T* gate_up, std::size_t n, T* y);
    // Logits of one token: the head's rows times x.
    void (*head)(const float* head, const float* x, std::size_t rows, std::size_t n, float* logits);
    // The final norm, in f32.
    void (*final_norm)(const float* x, const float* weight, float eps, std::size_t n, float* y);
};

// The kernels for an instruction set as oneDNN names it.
template <typename T>
const Kernels<T>& kernels_for(std::string_view instruction_set);

}  // namespace assay::cpu
