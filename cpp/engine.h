// The interface of C++ engines that run iterations. Independent of Rust.
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

// One sequence's part of an iteration: consecutive tokens and the blocks for their keys and values.
struct Chunk {
    // Range in Iteration::token_ids.
    std::size_t token_begin;
    std::size_t token_end;
    // Position of the first token in the sequence.
    std::size_t position;
    // Tokens of the whole sequence.
    std::size_t text_tokens;
    // Range in Iteration::block_table of the sequence's own table.
    std::size_t block_begin;
    std::size_t block_end;
    // Range in Iteration::reads of the tokens whose logits are wanted.
    std::size_t read_begin;
    std::size_t read_end;
};

// A flat batch. A chunk may read blocks that an earlier chunk of the same iteration writes.
struct Iteration {
    std::span<const std::uint32_t> token_ids;
    std::span<const std::uint32_t> block_table;
    std::span<const Chunk> chunks;
    // Indices within their chunks, ascending in each.
    std::span<const std::size_t> reads;
};

class Engine {
  public:
    virtual ~Engine() = default;

    // Rows of the head's matrix, whose products with the hidden state after one token are its logits.
    virtual std::size_t head_rows() const = 0;

    // Computes `logits`, [reads, head_rows] in the order of the reads. Throws std::exception if it cannot;
    // then at most the cache was changed.
    virtual void run(const Iteration& iteration, std::span<float> logits) = 0;
};

}  // namespace assay
