// What cpp/trtllm relies on in TensorRT-LLM's interface, checked by the compiler: against the stand-in's
// headers in every test run, against the real ones with `make check-trtllm-headers TRTLLM_ROOT=...`.

#include <type_traits>

#include "tensorrt_llm/executor/executor.h"
#include "tensorrt_llm/plugins/api/tllmPlugin.h"

namespace tle = tensorrt_llm::executor;

namespace {

// Whether a call, whichever overload it chooses, has this type.
template <typename Given, typename Wanted>
constexpr bool is = std::is_same_v<Given, Wanted>;
template <typename T>
T value();
template <typename T>
T& object();

using Ids = std::vector<tle::IdType>;
using Responses = std::vector<tle::Response>;
using Timeout = std::optional<std::chrono::milliseconds>;

static_assert(is<decltype(initTrtLlmPlugins()), bool>);

static_assert(is<tle::IdType, std::uint64_t> && is<tle::SizeType32, std::int32_t>);
static_assert(is<tle::VecTokens, std::vector<std::int32_t>> &&
              is<tle::BeamTokens, std::vector<tle::VecTokens>>);
static_assert(is<tle::RandomSeedType, std::uint64_t>);

static_assert(std::is_constructible_v<tle::Executor, std::filesystem::path, tle::ModelType,
                                      const tle::ExecutorConfig&>);
static_assert(is<decltype(object<tle::Executor>().enqueueRequests(value<std::vector<tle::Request>>())), Ids>);
static_assert(is<decltype(object<tle::Executor>().awaitResponses(value<Timeout>())), Responses>);
static_assert(is<decltype(object<tle::Executor>().cancelRequest(tle::IdType{})), void>);
static_assert(is<decltype(object<tle::Executor>().shutdown()), void>);
static_assert(
    is<decltype(object<tle::Executor>().getLatestIterationStats()), std::deque<tle::IterationStats>>);
static_assert(is<decltype(object<const tle::Executor>().canEnqueueRequests()), bool>);
// Nothing that we call may end the program instead of throwing.
static_assert(!noexcept(object<tle::Executor>().awaitResponses(value<Timeout>())));
static_assert(!noexcept(object<tle::Executor>().shutdown()));

static_assert(std::is_constructible_v<tle::Request, tle::VecTokens, tle::SizeType32>);
static_assert(tle::Request::kDefaultPriority == 0.5f);
static_assert(is<decltype(&tle::Request::setStreaming), void (tle::Request::*)(bool)>);
static_assert(
    is<decltype(&tle::Request::setSamplingConfig), void (tle::Request::*)(const tle::SamplingConfig&)>);
static_assert(is<decltype(&tle::Request::setOutputConfig), void (tle::Request::*)(const tle::OutputConfig&)>);
static_assert(is<decltype(&tle::Request::setEndId), void (tle::Request::*)(tle::SizeType32)>);
static_assert(
    is<decltype(&tle::Request::setStopWords), void (tle::Request::*)(const std::list<tle::VecTokens>&)>);
static_assert(is<decltype(&tle::Request::setEmbeddingBias), void (tle::Request::*)(const tle::Tensor&)>);
static_assert(is<decltype(tle::Tensor::cpu(tle::DataType::kFP32, {std::int64_t{1}})), tle::Tensor>);
static_assert(is<decltype(&tle::Request::setPriority), void (tle::Request::*)(float)>);

template <typename T>
using Setter = void (tle::SamplingConfig::*)(const std::optional<T>&);
static_assert(is<decltype(&tle::SamplingConfig::setTopK), Setter<tle::SizeType32>>);
static_assert(is<decltype(&tle::SamplingConfig::setTopP), Setter<float>>);
static_assert(is<decltype(&tle::SamplingConfig::setMinP), Setter<float>>);
static_assert(is<decltype(&tle::SamplingConfig::setSeed), Setter<std::uint64_t>>);
static_assert(is<decltype(&tle::SamplingConfig::setTemperature), Setter<float>>);
static_assert(is<decltype(&tle::SamplingConfig::setMinTokens), Setter<tle::SizeType32>>);
static_assert(is<decltype(&tle::SamplingConfig::setRepetitionPenalty), Setter<float>>);
static_assert(is<decltype(&tle::SamplingConfig::setPresencePenalty), Setter<float>>);
static_assert(is<decltype(&tle::SamplingConfig::setFrequencyPenalty), Setter<float>>);

static_assert(is<decltype(tle::OutputConfig::returnGenerationLogits), bool>);
static_assert(is<decltype(tle::OutputConfig::excludeInputFromOutput), bool>);

static_assert(is<decltype(object<const tle::Response>().getRequestId()), tle::IdType>);
static_assert(is<decltype(object<const tle::Response>().hasError()), bool>);
static_assert(is<decltype(object<const tle::Response>().getErrorMsg()), const std::string&>);
static_assert(is<decltype(object<const tle::Response>().getResult()), const tle::Result&>);

static_assert(is<decltype(tle::Result::isFinal), bool>);
static_assert(is<decltype(tle::Result::outputTokenIds), tle::BeamTokens>);
static_assert(is<decltype(tle::Result::generationLogits), std::optional<tle::Tensor>>);
static_assert(is<decltype(tle::Result::finishReasons), std::vector<tle::FinishReason>>);
static_assert(is<decltype(tle::Result::requestPerfMetrics), std::optional<tle::RequestPerfMetrics>>);
static_assert(is<decltype(tle::RequestPerfMetrics::KvCacheMetrics::numReusedBlocks), tle::SizeType32>);
static_assert(is<decltype(tle::OutputConfig::returnPerfMetrics), bool>);
static_assert(static_cast<int>(tle::FinishReason::kNOT_FINISHED) == 0);
static_assert(static_cast<int>(tle::FinishReason::kEND_ID) == 1);
static_assert(static_cast<int>(tle::FinishReason::kSTOP_WORDS) == 2);
static_assert(static_cast<int>(tle::FinishReason::kLENGTH) == 3);
static_assert(static_cast<int>(tle::FinishReason::kTIMED_OUT) == 4);
static_assert(static_cast<int>(tle::FinishReason::kCANCELLED) == 5);

static_assert(is<decltype(object<const tle::Tensor>().getData()), const void*>);
static_assert(is<decltype(object<const tle::Tensor>().getDataType()), tle::DataType>);
static_assert(is<decltype(object<const tle::Tensor>().getMemoryType()), tle::MemoryType>);
static_assert(is<decltype(object<const tle::Tensor>().getSize()), std::size_t>);

static_assert(is<decltype(tle::IterationStats::iterLatencyMS), double>);
static_assert(is<decltype(tle::IterationStats::numQueuedRequests), tle::SizeType32>);
static_assert(is<decltype(tle::IterationStats::kvCacheStats), std::optional<tle::KvCacheStats>>);
static_assert(
    is<decltype(tle::IterationStats::inflightBatchingStats), std::optional<tle::InflightBatchingStats>>);
static_assert(is<decltype(tle::KvCacheStats::reusedBlocks), tle::SizeType32>);
static_assert(is<decltype(tle::InflightBatchingStats::numGenRequests), tle::SizeType32>);

static_assert(std::is_default_constructible_v<tle::ExecutorConfig>);
static_assert(std::is_constructible_v<tle::SchedulerConfig, tle::CapacitySchedulerPolicy>);
// The argument became optional in 2025; the bridge gives a number, which both take.
using SetMaxTokens = decltype(&tle::KvCacheConfig::setMaxTokens);
static_assert(is<SetMaxTokens, void (tle::KvCacheConfig::*)(std::optional<tle::SizeType32>)> ||
              is<SetMaxTokens, void (tle::KvCacheConfig::*)(tle::SizeType32)>);
static_assert(is<decltype(&tle::KvCacheConfig::setMaxAttentionWindowVec),
                 void (tle::KvCacheConfig::*)(std::vector<tle::SizeType32>)>);
static_assert(std::is_constructible_v<tle::DecodingConfig, tle::DecodingMode>);
static_assert(is<decltype(tle::DecodingMode::TopK()), tle::DecodingMode>);
static_assert(is<decltype(&tle::ExecutorConfig::setDecodingConfig),
                 void (tle::ExecutorConfig::*)(const tle::DecodingConfig&)>);
static_assert(
    is<decltype(&tle::KvCacheConfig::setFreeGpuMemoryFraction), void (tle::KvCacheConfig::*)(float)>);
static_assert(is<decltype(&tle::KvCacheConfig::setHostCacheSize), void (tle::KvCacheConfig::*)(std::size_t)>);
static_assert(std::is_constructible_v<tle::OrchestratorConfig, bool, std::string>);
static_assert(std::is_default_constructible_v<tle::ParallelConfig>);

}  // namespace
