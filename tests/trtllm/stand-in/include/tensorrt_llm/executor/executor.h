// What Assay uses of TensorRT-LLM's executor/executor.h; see ../../../README.md.
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
    [[nodiscard]] std::optional<FloatType> getTopP() const { return top_p_; }
    [[nodiscard]] std::optional<RandomSeedType> getSeed() const { return seed_; }
    [[nodiscard]] std::optional<FloatType> getTemperature() const { return temperature_; }
    [[nodiscard]] std::optional<SizeType32> getMinTokens() const { return min_tokens_; }
    [[nodiscard]] std::optional<FloatType> getRepetitionPenalty() const { return repetition_penalty_; }
    [[nodiscard]] std::optional<FloatType> getPresencePenalty() const { return presence_penalty_; }
    [[nodiscard]] std::optional<FloatType> getFrequencyPenalty() const { return frequency_penalty_; }
    [[nodiscard]] std::optional<SizeType32> getPromptIgnoreLength() const { return prompt_ignore_length_; }
    [[nodiscard]] std::optional<FloatType> getMinP() const { return min_p_; }

    void setTopK(std::optional<SizeType32> const& topK) { top_k_ = topK; }
    // Throws unless it is in (0, 1].
    void setTopP(std::optional<FloatType> const& topP);
    void setSeed(std::optional<RandomSeedType> const& seed) { seed_ = seed; }
    void setTemperature(std::optional<FloatType> const& temperature) { temperature_ = temperature; }
    void setMinTokens(std::optional<SizeType32> const& minTokens) { min_tokens_ = minTokens; }
    void setRepetitionPenalty(std::optional<FloatType> const& repetitionPenalty) {
        repetition_penalty_ = repetitionPenalty;
    }
    void setPresencePenalty(std::optional<FloatType> const& presencePenalty) {
        presence_penalty_ = presencePenalty;
    }
    void setFrequencyPenalty(std::optional<FloatType> const& frequencyPenalty) {
        frequency_penalty_ = frequencyPenalty;
    }
    // Not in every version; see `ignore_prompt` of the bridge.
    void setPromptIgnoreLength(std::optional<SizeType32> const& promptIgnoreLength) {
        prompt_ignore_length_ = promptIgnoreLength;
    }
    void setMinP(std::optional<FloatType> const& minP) { min_p_ = minP; }

  private:
    SizeType32 beam_width_;
    std::optional<SizeType32> top_k_;
    std::optional<FloatType> top_p_;
    std::optional<RandomSeedType> seed_;
    std::optional<FloatType> temperature_;
    std::optional<SizeType32> min_tokens_;
    std::optional<FloatType> repetition_penalty_;
    std::optional<FloatType> presence_penalty_;
    std::optional<FloatType> frequency_penalty_;
    std::optional<SizeType32> prompt_ignore_length_;
    std::optional<FloatType> min_p_;
};

class OutputConfig {
  public:
    bool returnContextLogits = false;
    bool returnGenerationLogits = false;
    bool excludeInputFromOutput = false;
    bool returnEncoderOutput = false;
    bool returnPerfMetrics = false;
};

class Request {
  public:
    static constexpr PriorityType kDefaultPriority = 0.5;

    Request(VecTokens inputTokenIds, SizeType32 maxTokens, bool streaming = false);

    [[nodiscard]] VecTokens getInputTokenIds() const { return tokens_; }
    [[nodiscard]] SizeType32 getMaxTokens() const { return max_tokens_; }
    [[nodiscard]] bool getStreaming() const { return streaming_; }
    [[nodiscard]] SamplingConfig getSamplingConfig() const { return sampling_; }
    [[nodiscard]] OutputConfig getOutputConfig() const { return output_; }
    [[nodiscard]] std::optional<SizeType32> getEndId() const { return end_id_; }
    [[nodiscard]] std::optional<std::list<VecTokens>> getStopWords() const { return stop_words_; }
    [[nodiscard]] std::optional<Tensor> getEmbeddingBias() const { return embedding_bias_; }
    [[nodiscard]] PriorityType getPriority() const { return priority_; }

    void setStreaming(bool streaming) { streaming_ = streaming; }
    void setEndId(SizeType32 endId) { end_id_ = endId; }
    void setSamplingConfig(SamplingConfig const& config) { sampling_ = config; }
    void setOutputConfig(OutputConfig const& outputConfig) { output_ = outputConfig; }
    void setStopWords(std::list<VecTokens> const& stopWords) { stop_words_ = stopWords; }
    void setEmbeddingBias(Tensor const& embeddingBias) { embedding_bias_ = embeddingBias; }
    void setPriority(PriorityType priority);

  private:
    VecTokens tokens_;
    SizeType32 max_tokens_;
    bool streaming_;
    std::optional<SizeType32> end_id_;
    SamplingConfig sampling_;
    OutputConfig output_;
    std::optional<std::list<VecTokens>> stop_words_;
    std::optional<Tensor> embedding_bias_;
    PriorityType priority_ = kDefaultPriority;
};

struct Result {
    bool isFinal;
    BeamTokens outputTokenIds;
    std::optional<Tensor> generationLogits;
    std::vector<FinishReason> finishReasons;
    std::optional<RequestPerfMetrics> requestPerfMetrics;
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

    [[nodiscard]] bool getEnableBlockReuse() const { return block_reuse_; }
    [[nodiscard]] std::optional<SizeType32> getMaxTokens() const { return max_tokens_; }
    [[nodiscard]] std::optional<FloatType> getFreeGpuMemoryFraction() const { return fraction_; }
    [[nodiscard]] std::optional<std::size_t> getHostCacheSize() const { return host_cache_; }
    [[nodiscard]] std::optional<std::vector<SizeType32>> getMaxAttentionWindowVec() const { return windows_; }

    void setEnableBlockReuse(bool enableBlockReuse) { block_reuse_ = enableBlockReuse; }
    void setMaxTokens(std::optional<SizeType32> maxTokens) { max_tokens_ = maxTokens; }
    void setFreeGpuMemoryFraction(FloatType freeGpuMemoryFraction) { fraction_ = freeGpuMemoryFraction; }
    void setHostCacheSize(std::size_t hostCacheSize) { host_cache_ = hostCacheSize; }
    void setMaxAttentionWindowVec(std::vector<SizeType32> maxAttentionWindowVec) {
        windows_ = std::move(maxAttentionWindowVec);
    }

  private:
    bool block_reuse_;
    std::optional<SizeType32> max_tokens_;
    std::optional<FloatType> fraction_;
    std::optional<std::size_t> host_cache_;
    std::optional<std::vector<SizeType32>> windows_;
};

class DecodingConfig {
  public:
    explicit DecodingConfig(std::optional<DecodingMode> decodingMode = std::nullopt) : mode_(decodingMode) {}

    [[nodiscard]] std::optional<DecodingMode> getDecodingMode() const { return mode_; }

  private:
    std::optional<DecodingMode> mode_;
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
    [[nodiscard]] bool getEnableChunkedContext() const { return chunked_context_; }
    [[nodiscard]] std::optional<SizeType32> getMaxBatchSize() const { return max_batch_size_; }
    [[nodiscard]] std::optional<SizeType32> getMaxNumTokens() const { return max_num_tokens_; }
    [[nodiscard]] std::optional<SizeType32> getMaxQueueSize() const { return max_queue_size_; }
    [[nodiscard]] std::optional<ParallelConfig> getParallelConfig() const { return parallel_; }
    [[nodiscard]] bool getGatherGenerationLogits() const { return gather_generation_logits_; }
    [[nodiscard]] SizeType32 getRecvPollPeriodMs() const { return poll_; }
    [[nodiscard]] std::optional<DecodingConfig> getDecodingConfig() const { return decoding_; }

    void setSchedulerConfig(SchedulerConfig const&) {}
    void setKvCacheConfig(KvCacheConfig const& kvCacheConfig) { kv_cache_ = kvCacheConfig; }
    void setEnableChunkedContext(bool enableChunkedContext) { chunked_context_ = enableChunkedContext; }
    void setMaxBatchSize(SizeType32 maxBatchSize) { max_batch_size_ = maxBatchSize; }
    void setMaxNumTokens(SizeType32 maxNumTokens) { max_num_tokens_ = maxNumTokens; }
    void setMaxQueueSize(std::optional<SizeType32> const& maxQueueSize) { max_queue_size_ = maxQueueSize; }
    void setParallelConfig(ParallelConfig const& parallelConfig) { parallel_ = parallelConfig; }
    void setGatherGenerationLogits(bool gatherGenerationLogits) {
        gather_generation_logits_ = gatherGenerationLogits;
    }
    void setDecodingConfig(DecodingConfig const& decodingConfig) { decoding_ = decodingConfig; }
    void setRecvPollPeriodMs(SizeType32 const& recvPollPeriodMs) { poll_ = recvPollPeriodMs; }

  private:
    KvCacheConfig kv_cache_;
    bool chunked_context_ = true;
    std::optional<SizeType32> max_batch_size_;
    std::optional<SizeType32> max_num_tokens_;
    std::optional<SizeType32> max_queue_size_;
    std::optional<ParallelConfig> parallel_;
    bool gather_generation_logits_ = false;
    std::optional<DecodingConfig> decoding_;
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
