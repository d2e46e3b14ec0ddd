// What every C++ engine offers. Knows nothing of Rust.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <stdexcept>

namespace assay {

// Why an engine cannot do what was asked of it, as a sentence for the user.
struct EngineError : std::runtime_error {
    using std::runtime_error::runtime_error;
};

// One sequence's part of an iteration: a run of its tokens and where their keys and values go.
struct Chunk {
    // Where its tokens stand in Iteration::token_ids.
    std::size_t token_begin;
    std::size_t token_end;
    // Position in the sequence of the first of them.
    std::size_t position;
    // Where the sequence's block table stands in Iteration::block_table.
    std::size_t block_begin;
    std::size_t block_end;
    // Where the places of the tokens whose logits are wanted stand in Iteration::reads.
    std::size_t read_begin;
    std::size_t read_end;
};

// A flat batch. A chunk may read blocks that another one of the same iteration writes.
struct Iteration {
    std::span<const std::uint32_t> token_ids;
    std::span<const std::uint32_t> block_table;
    std::span<const Chunk> chunks;
    // Places within their chunks, ascending in each.
    std::span<const std::size_t> reads;
};

class Engine {
  public:
    virtual ~Engine() = default;

    // Rows of the head's matrix, whose products with the hidden state after one token are its logits.
    virtual std::size_t head_rows() const = 0;

    // Computes an iteration. `logits` is [reads, head_rows], in the order of the reads.
    // Throws std::exception when the iteration cannot be computed; nothing outside the cache was touched.
    virtual void run(const Iteration& iteration, std::span<float> logits) = 0;
};

}  // namespace assay
