// What Assay uses of TensorRT-LLM's executor/types.h; see ../../../README.md.
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <list>
#include <optional>
#include <string>
#include <vector>

namespace tensorrt_llm::executor {

using SizeType32 = std::int32_t;
using FloatType = float;
using TokenIdType = std::int32_t;
using VecTokens = std::vector<TokenIdType>;
using BeamTokens = std::vector<VecTokens>;
using IdType = std::uint64_t;
using IterationType = std::uint64_t;
using PriorityType = float;
using RandomSeedType = std::uint64_t;
using MillisecondsType = std::chrono::milliseconds;

enum class DataType { kBOOL, kUINT8, kINT8, kINT32, kINT64, kBF16, kFP8, kFP16, kFP32, kUNKNOWN };

enum class MemoryType { kCPU, kCPU_PINNED, kCPU_PINNEDPOOL, kGPU, kUVM, kUNKNOWN };

enum class ModelType { kDECODER_ONLY = 0, kENCODER_ONLY = 1, kENCODER_DECODER = 2 };

enum class CapacitySchedulerPolicy { kMAX_UTILIZATION = 0, kGUARANTEED_NO_EVICT = 1, kSTATIC_BATCH = 2 };

class DecodingMode {
  public:
    static constexpr auto Auto() { return DecodingMode(false); }
    static constexpr auto TopK() { return DecodingMode(true); }

    // The stand-in's own way to tell them apart.
    [[nodiscard]] constexpr bool samples_top_k_only() const { return top_k_only_; }

  private:
    explicit constexpr DecodingMode(bool top_k_only) : top_k_only_(top_k_only) {}

    bool top_k_only_;
};

enum class CommunicationType { kMPI = 0 };

enum class CommunicationMode { kLEADER, kORCHESTRATOR };

struct RequestPerfMetrics {
    struct KvCacheMetrics {
        SizeType32 numTotalAllocatedBlocks{0};
        SizeType32 numNewAllocatedBlocks{0};
        SizeType32 numReusedBlocks{0};
        SizeType32 numMissedBlocks{0};
        FloatType kvCacheHitRate{0};
    };
    KvCacheMetrics kvCacheMetrics;
};

enum class FinishReason {
    kNOT_FINISHED = 0,
    kEND_ID = 1,
    kSTOP_WORDS = 2,
    kLENGTH = 3,
    kTIMED_OUT = 4,
    kCANCELLED = 5
};

struct KvCacheStats {
    SizeType32 maxNumBlocks;
    SizeType32 freeNumBlocks;
    SizeType32 usedNumBlocks;
    SizeType32 tokensPerBlock;
    SizeType32 allocTotalBlocks;
    SizeType32 allocNewBlocks;
    SizeType32 reusedBlocks;
};

struct InflightBatchingStats {
    SizeType32 numScheduledRequests;
    SizeType32 numContextRequests;
    SizeType32 numGenRequests;
    SizeType32 numPausedRequests;
    SizeType32 numCtxTokens;
};

struct IterationStats {
    IterationType iter;
    double iterLatencyMS;
    SizeType32 numActiveRequests;
    SizeType32 numQueuedRequests;
    SizeType32 numCompletedRequests;
    std::optional<KvCacheStats> kvCacheStats;
    std::optional<InflightBatchingStats> inflightBatchingStats;
};

}  // namespace tensorrt_llm::executor
