#include "prefix_cache.h"

#include "logits.h"

namespace stand_in {

using tensorrt_llm::executor::SizeType32;

std::vector<std::uint64_t> PrefixCache::blocks_of(const Prompt& prompt) const {
    std::vector<std::uint64_t> blocks;
    if (!enabled_) return blocks;
    std::uint64_t state = kSeed;
    for (std::size_t i = 0; i + 1 < prompt.size(); ++i) {
        state = mix(state ^ (static_cast<std::uint64_t>(prompt[i]) + 1));
        if ((i + 1) % tokens_per_block_ == 0) blocks.push_back(state);
    }
    return blocks;
}

bool PrefixCache::is_held_back(const Prompt& prompt, Blocks& contributed) const {
    for (const std::uint64_t block : blocks_of(prompt))
        if (!computed_.contains(block)) return !contributed.insert(block).second;
    return false;
}

SizeType32 PrefixCache::reuse(const Prompt& prompt) {
    SizeType32 reused = 0;
    for (const std::uint64_t block : blocks_of(prompt)) {
        if (computed_.contains(block))
            ++reused;
        else
            computing_.insert(block);
    }
    reused_ += reused;
    return reused;
}

}  // namespace stand_in
