// The paged cache of keys and values.
#pragma once

#include "buffer.h"
#include "kernels.h"

namespace assay::cpu {

// [layers][blocks][kv_heads][keys, values]. A block's keys are [head_dim][16 tokens] and its values
// [16 tokens][head_dim rounded up to 16]. In bf16, pairs of the first index are adjacent, as vdpbf16ps needs
// them.
template <typename T>
class KvCache {
  public:
    KvCache(const HeadShape& shape, std::size_t layers, std::size_t blocks)
        : blocks_(blocks),
          keys_(shape.head_dim * kTokensPerBlock),
          head_(keys_ + round_up(shape.head_dim, 16) * kTokensPerBlock),
          block_(head_ * shape.kv_heads),
          memory_(layers * blocks * block_ * sizeof(T)) {}

    std::size_t blocks() const { return blocks_; }

    CacheView<T> layer(std::size_t layer) const {
        return {memory_.template as<T>() + layer * blocks_ * block_, block_, head_, keys_};
    }

  private:
    std::size_t blocks_;
    std::size_t keys_;
    std::size_t head_;
    std::size_t block_;
    Buffer memory_;
};

}  // namespace assay::cpu
