// Of TensorRT-LLM's executor/executor.h, what Assay uses; see ../../../README.md.
#pragma once

#include <deque>
#include <filesystem>
#include <memory>

#include "tensorrt_llm/executor/tensor.h"
#include "tensorrt_llm/executor/types.h"

namespace tensorrt_llm::executor {

class SamplingConfig {
  public:
    explicit SamplingConfig(SizeType32 beamWidth = 1, std::optional<SizeType32> const& topK = std::nullopt)
        : beam_width_(beamWidth), top_k_(topK) {}

    [[nodiscard]] SizeType32 getBeamWidth() const { return beam_width_; }
    [[nodiscard]] std::optional<SizeType32> getTopK() const { return top_k_; }
    void setTopK(std::optional<SizeType32> const& topK) { top_k_ = topK; }

  private:
    SizeType32 beam_width_;
    std::optional<SizeType32> top_k_;
};

class OutputConfig {
  public:
    bool returnLogProbs = false;
    bool returnContextLogits = false;
    bool returnGenerationLogits = false;
    bool excludeInputFromOutput = false;
};

class Request {
  public:
    static constexpr PriorityType kDefaultPriority = 0.5;

    Request(VecTokens inputTokenIds, SizeType32 maxTokens, bool streaming = false);

    [[nodiscard]] VecTokens getInputTokenIds() const { return tokens_; }
    [[nodiscard]] SizeType32 getMaxTokens() const { return max_tokens_; }
    [[nodiscard]] SamplingConfig getSamplingConfig() const { return sampling_; }
    [[nodiscard]] OutputConfig getOutputConfig() const { return output_; }
    [[nodiscard]] std::optional<std::list<VecTokens>> getStopWords() const { return stop_words_; }
    [[nodiscard]] PriorityType getPriority() const { return priority_; }

    void setSamplingConfig(SamplingConfig const& config) { sampling_ = config; }
    void setOutputConfig(OutputConfig const& outputConfig) { output_ = outputConfig; }
    void setStopWords(std::list<VecTokens> const& stopWords) { stop_words_ = stopWords; }
    void setPriority(PriorityType priority);

  private:
    VecTokens tokens_;
    SizeType32 max_tokens_;
    SamplingConfig sampling_;
    OutputConfig output_;
    std::optional<std::list<VecTokens>> stop_words_;
    PriorityType priority_ = kDefaultPriority;
};

struct Result {
    bool isFinal;
    BeamTokens outputTokenIds;
    std::optional<Tensor> generationLogits;
    std::vector<FinishReason> finishReasons;
};

class Response {
  public:
    Response(IdType requestId, std::string errorMsg, std::optional<IdType> clientId = std::nullopt);
    Response(IdType requestId, Result Result, std::optional<IdType> clientId = std::nullopt);

    [[nodiscard]] IdType getRequestId() const { return request_; }
    [[nodiscard]] bool hasError() const { return error_.has_value(); }
    // Throws without an error.
    [[nodiscard]] std::string const& getErrorMsg() const;
    // Throws with an error.
    [[nodiscard]] Result const& getResult() const;

  private:
    IdType request_;
    std::optional<std::string> error_;
    std::optional<Result> result_;
};

class SchedulerConfig {
  public:
    explicit SchedulerConfig(
        CapacitySchedulerPolicy capacitySchedulerPolicy = CapacitySchedulerPolicy::kGUARANTEED_NO_EVICT)
        : policy_(capacitySchedulerPolicy) {}

  private:
    [[maybe_unused]] CapacitySchedulerPolicy policy_;
};

class KvCacheConfig {
  public:
    explicit KvCacheConfig(bool enableBlockReuse = true) : block_reuse_(enableBlockReuse) {}

    [[nodiscard]] std::optional<SizeType32> getMaxTokens() const { return max_tokens_; }

    void setEnableBlockReuse(bool enableBlockReuse) { block_reuse_ = enableBlockReuse; }
    void setMaxTokens(std::optional<SizeType32> maxTokens) { max_tokens_ = maxTokens; }
    void setFreeGpuMemoryFraction(FloatType) {}
    void setHostCacheSize(std::size_t) {}

  private:
    [[maybe_unused]] bool block_reuse_;
    std::optional<SizeType32> max_tokens_;
};

class OrchestratorConfig {
  public:
    explicit OrchestratorConfig(bool isOrchestrator = true, std::string workerExecutablePath = "")
        : is_orchestrator_(isOrchestrator), worker_(std::move(workerExecutablePath)) {}

    [[nodiscard]] bool getIsOrchestrator() const { return is_orchestrator_; }
    [[nodiscard]] std::string getWorkerExecutablePath() const { return worker_; }

  private:
    bool is_orchestrator_;
    std::string worker_;
};

class ParallelConfig {
  public:
    explicit ParallelConfig(CommunicationType = CommunicationType::kMPI,
                            CommunicationMode commMode = CommunicationMode::kLEADER)
        : mode_(commMode) {}

    [[nodiscard]] CommunicationMode getCommunicationMode() const { return mode_; }
    [[nodiscard]] std::optional<OrchestratorConfig> getOrchestratorConfig() const { return orchestrator_; }

    void setCommunicationMode(CommunicationMode mode) { mode_ = mode; }
    void setOrchestratorConfig(OrchestratorConfig const& orchestratorConfig) {
        orchestrator_ = orchestratorConfig;
    }

  private:
    CommunicationMode mode_;
    std::optional<OrchestratorConfig> orchestrator_;
};

class ExecutorConfig {
  public:
    [[nodiscard]] KvCacheConfig getKvCacheConfig() const { return kv_cache_; }
    [[nodiscard]] std::optional<SizeType32> getMaxBatchSize() const { return max_batch_size_; }
    [[nodiscard]] std::optional<SizeType32> getMaxNumTokens() const { return max_num_tokens_; }
    [[nodiscard]] std::optional<SizeType32> getMaxQueueSize() const { return max_queue_size_; }
    [[nodiscard]] std::optional<ParallelConfig> getParallelConfig() const { return parallel_; }
    [[nodiscard]] bool getGatherGenerationLogits() const { return gather_generation_logits_; }
    [[nodiscard]] SizeType32 getRecvPollPeriodMs() const { return poll_; }

    void setSchedulerConfig(SchedulerConfig const&) {}
    void setKvCacheConfig(KvCacheConfig const& kvCacheConfig) { kv_cache_ = kvCacheConfig; }
    void setEnableChunkedContext(bool) {}
    void setMaxBatchSize(SizeType32 maxBatchSize) { max_batch_size_ = maxBatchSize; }
    void setMaxNumTokens(SizeType32 maxNumTokens) { max_num_tokens_ = maxNumTokens; }
    void setMaxQueueSize(std::optional<SizeType32> const& maxQueueSize) { max_queue_size_ = maxQueueSize; }
    void setParallelConfig(ParallelConfig const& parallelConfig) { parallel_ = parallelConfig; }
    void setGatherGenerationLogits(bool gatherGenerationLogits) {
        gather_generation_logits_ = gatherGenerationLogits;
    }
    void setRecvPollPeriodMs(SizeType32 const& recvPollPeriodMs) { poll_ = recvPollPeriodMs; }

  private:
    KvCacheConfig kv_cache_;
    std::optional<SizeType32> max_batch_size_;
    std::optional<SizeType32> max_num_tokens_;
    std::optional<SizeType32> max_queue_size_;
    std::optional<ParallelConfig> parallel_;
    bool gather_generation_logits_ = false;
    SizeType32 poll_ = 0;
};

class Executor {
  public:
    Executor(std::filesystem::path const& modelPath, ModelType modelType,
             ExecutorConfig const& executorConfig);
    ~Executor();
    Executor(Executor const& executor) = delete;
    Executor& operator=(Executor const& executor) = delete;

    [[nodiscard]] std::vector<IdType> enqueueRequests(std::vector<Request> const& requests);
    [[nodiscard]] std::vector<Response> awaitResponses(
        std::optional<std::chrono::milliseconds> const& timeout = std::nullopt);
    void cancelRequest(IdType requestId);
    void shutdown();
    std::deque<IterationStats> getLatestIterationStats();
    [[nodiscard]] bool canEnqueueRequests() const;

  private:
    class Impl;
    std::unique_ptr<Impl> impl_;
};

}  // namespace tensorrt_llm::executor
