// The blocks of prompts that are in the KV cache, each by the hash of the tokens up to its end.
#pragma once

#include <cstdint>
#include <set>
#include <vector>

#include "tensorrt_llm/executor/executor.h"

namespace stand_in {

class PrefixCache {
  public:
    using Prompt = tensorrt_llm::executor::VecTokens;
    using Blocks = std::set<std::uint64_t>;

    // A cache that is not `enabled` finds nothing.
    PrefixCache(bool enabled, std::size_t tokens_per_block)
        : enabled_(enabled), tokens_per_block_(tokens_per_block) {}

    // Like the real library's capacity scheduler, which holds a sequence back while another computes the
    // first block that it does not find. `contributed` has such blocks of this step.
    bool is_held_back(const Prompt& prompt, Blocks& contributed) const;

    // Blocks of a prompt that an earlier step computed. What is not found is computed in this one.
    tensorrt_llm::executor::SizeType32 reuse(const Prompt& prompt);

    // From now on, what this step computed is found.
    void end_step() { computed_.merge(computing_); }

    // How often a block was found.
    tensorrt_llm::executor::SizeType32 reused() const { return reused_; }

  private:
    // The whole blocks of a prompt, its last token left out.
    std::vector<std::uint64_t> blocks_of(const Prompt& prompt) const;

    const bool enabled_;
    const std::size_t tokens_per_block_;
    Blocks computed_;
    Blocks computing_;
    tensorrt_llm::executor::SizeType32 reused_ = 0;
};

}  // namespace stand_in
