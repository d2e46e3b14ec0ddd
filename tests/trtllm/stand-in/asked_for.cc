#include "asked_for.h"

#include <fstream>

namespace stand_in {

using tensorrt_llm::executor::ExecutorConfig;
using tensorrt_llm::executor::KvCacheConfig;
using tensorrt_llm::executor::SizeType32;

bool is_top_k_only(const ExecutorConfig& config) {
    const auto decoding = config.getDecodingConfig();
    return decoding && decoding->getDecodingMode() && decoding->getDecodingMode()->samples_top_k_only();
}

void write_asked_for(const ExecutorConfig& config, const std::filesystem::path& directory) {
    const KvCacheConfig cache = config.getKvCacheConfig();
    std::ofstream asked_for(directory / "asked-for");
    asked_for << "max_batch_size " << config.getMaxBatchSize().value_or(0) << "\nmax_num_tokens "
              << config.getMaxNumTokens().value_or(0) << "\nmax_queue_size "
              << config.getMaxQueueSize().value_or(0) << "\nblock_reuse " << cache.getEnableBlockReuse()
              << "\nchunked_context " << config.getEnableChunkedContext() << "\nkv_cache_fraction "
              << cache.getFreeGpuMemoryFraction().value_or(0) << "\nkv_cache_tokens "
              << cache.getMaxTokens().value_or(0) << "\nhost_cache " << cache.getHostCacheSize().value_or(0)
              << "\ntop_k_only " << is_top_k_only(config) << "\nwindows";
    for (const SizeType32 keys : cache.getMaxAttentionWindowVec().value_or(std::vector<SizeType32>{}))
        asked_for << " " << keys;
    asked_for << "\n";
}

}  // namespace stand_in
