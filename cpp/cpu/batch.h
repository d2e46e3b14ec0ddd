// An iteration, checked and laid out for the decoder.
#pragma once

#include <vector>

#include "engine.h"
#include "kernels.h"

namespace assay::cpu {

// Sizes that an iteration must keep to.
struct BatchLimits {
    std::size_t max_num_tokens;
    std::size_t vocab_size;
    std::size_t kv_blocks;
};

// Throws EngineError unless the iteration keeps to the limits and its parts fit together.
void check(const Iteration& iteration, const BatchLimits& limits);

// Position of a token in its sequence, the KV block that takes its keys and values, and the index of its
// chunk.
struct TokenPlace {
    std::size_t position;
    std::size_t block;
    std::size_t chunk;
};

// Adjacent tokens of one chunk and some of their query heads, all of one key-value head: what one attention
// tile computes.
struct TileSpan {
    const Chunk* chunk;
    std::size_t token;  // within the chunk
    std::size_t tokens;
    std::size_t head;
    std::size_t heads;
};

// Where everything in an iteration goes. Points into the iteration.
class Batch {
  public:
    explicit Batch(const HeadShape& heads) : heads_(heads) {}

    void plan(const Iteration& iteration);

    std::span<const Chunk> chunks() const { return chunks_; }
    std::span<const TokenPlace> places() const { return places_; }
    // Rows whose logits are wanted, ascending.
    std::span<const std::size_t> reads() const { return reads_; }
    // Attention tiles of all tokens, and of the wanted rows only.
    std::span<const TileSpan> tiles() const { return tiles_; }
    std::span<const TileSpan> read_tiles() const { return read_tiles_; }
    const std::uint32_t* block_table(const Chunk& chunk) const { return blocks_ + chunk.block_begin; }

  private:
    void add_tiles(const Chunk& chunk, std::size_t begin, std::size_t end,
                   std::vector<TileSpan>& tiles) const;

    HeadShape heads_;
    const std::uint32_t* blocks_ = nullptr;
    std::span<const Chunk> chunks_;
    std::vector<TokenPlace> places_;
    std::vector<std::size_t> reads_;
    std::vector<TileSpan> tiles_, read_tiles_;
};

}  // namespace assay::cpu
