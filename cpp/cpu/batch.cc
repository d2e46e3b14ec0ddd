#include "batch.h"

#include <algorithm>
#include <string>

namespace assay::cpu {
namespace {

[[noreturn]] void refuse(const std::string& why) { throw EngineError("an iteration " + why); }

void check_chunk(const Chunk& chunk, const Iteration& iteration) {
    const std::size_t count = chunk.token_end - chunk.token_begin;
    for (std::size_t read = chunk.read_begin; read < chunk.read_end; ++read)
        if (iteration.reads[read] >= count ||
            (read > chunk.read_begin && iteration.reads[read] <= iteration.reads[read - 1]))
            refuse("reads tokens outside a chunk, or out of order");
    if (chunk.block_end > iteration.block_table.size() || chunk.block_begin > chunk.block_end)
        refuse("has a chunk whose block table is out of range");
    // Compared so that no sum overflows.
    if (chunk.position > chunk.text_tokens || count > chunk.text_tokens - chunk.position)
        refuse("has a chunk of " + std::to_string(count) + " tokens at position " +
               std::to_string(chunk.position) + " of a text of " + std::to_string(chunk.text_tokens) +
               " tokens");
    const std::size_t end = chunk.position + count;
    if ((chunk.block_end - chunk.block_begin) * kTokensPerBlock < end)
        refuse("has a block table too short for position " + std::to_string(end - 1));
}

}  // namespace

void check(const Iteration& iteration, const BatchLimits& limits) {
    const std::size_t tokens = iteration.token_ids.size();
    if (tokens > limits.max_num_tokens)
        refuse("has " + std::to_string(tokens) + " tokens, more than " +
               std::to_string(limits.max_num_tokens));
    for (const std::uint32_t id : iteration.token_ids)
        if (id >= limits.vocab_size)
            refuse("has token id " + std::to_string(id) + ", the vocabulary has " +
                   std::to_string(limits.vocab_size));
    for (const std::uint32_t block : iteration.block_table)
        if (block >= limits.kv_blocks)
            refuse("names KV block " + std::to_string(block) + " of " + std::to_string(limits.kv_blocks));
    std::size_t next_token = 0, next_read = 0;
    for (const Chunk& chunk : iteration.chunks) {
        if (chunk.token_begin != next_token || chunk.token_end <= chunk.token_begin ||
            chunk.token_end > tokens)
            refuse("has chunks that are not consecutive");
        if (chunk.read_begin != next_read || chunk.read_end < next_read ||
            chunk.read_end > iteration.reads.size())
            refuse("has reads that are not consecutive");
        next_token = chunk.token_end;
        next_read = chunk.read_end;
        check_chunk(chunk, iteration);
    }
    if (next_token != tokens) refuse("has tokens that belong to no chunk");
    if (next_read != iteration.reads.size()) refuse("has reads that belong to no chunk");
}

void Batch::plan(const Iteration& iteration) {
    blocks_ = iteration.block_table.data();
    chunks_ = iteration.chunks;
    places_.clear();
    reads_.clear();
    tiles_.clear();
    read_tiles_.clear();
    for (std::size_t index = 0; index < chunks_.size(); ++index) {
        const Chunk& chunk = chunks_[index];
        const std::size_t count = chunk.token_end - chunk.token_begin;
        for (std::size_t i = 0; i < count; ++i) {
            const std::size_t position = chunk.position + i;
            places_.push_back({position, block_table(chunk)[position / kTokensPerBlock], index});
        }
        add_tiles(chunk, 0, count, tiles_);
        for (const std::size_t token :
             iteration.reads.subspan(chunk.read_begin, chunk.read_end - chunk.read_begin)) {
            add_tiles(chunk, token, token + 1, read_tiles_);
            reads_.push_back(chunk.token_begin + token);
        }
    }
}

void Batch::add_tiles(const Chunk& chunk, std::size_t begin, std::size_t end,
                      std::vector<TileSpan>& tiles) const {
    const std::size_t heads = std::min(heads_.group(), kTileRows);
    const std::size_t tokens = kTileRows / heads;
    for (std::size_t first = 0; first < heads_.heads; first += heads_.group())
        for (std::size_t head = first; head < first + heads_.group(); head += heads)
            for (std::size_t token = begin; token < end; token += tokens)
                tiles.push_back({&chunk, token, std::min(tokens, end - token), head,
                                 std::min(heads, first + heads_.group() - head)});
}

}  // namespace assay::cpu
