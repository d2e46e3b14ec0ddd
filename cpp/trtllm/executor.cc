#include "trtllm/executor.h"

#include <algorithm>
#include <limits>
#include <list>
#include <utility>

#include "tensorrt_llm/executor/executor.h"
#include "tensorrt_llm/plugins/api/tllmPlugin.h"

namespace assay::trtllm {
namespace {

namespace tle = tensorrt_llm::executor;

// Time between polls of an orchestrator's connections; with 0 the library would spin.
constexpr tle::SizeType32 kPollMilliseconds = 1;

tle::SizeType32 size32(std::size_t value) {
    constexpr std::size_t kMost = std::numeric_limits<tle::SizeType32>::max();
    if (value > kMost) throw EngineError(std::to_string(value) + " is more than TensorRT-LLM's limit");
    return static_cast<tle::SizeType32>(value);
}

void register_plugins() {
    static const bool registered = initTrtLlmPlugins();
    if (!registered) throw EngineError("TensorRT-LLM's plugins cannot be registered");
}

tle::KvCacheConfig kv_cache_for(const Config& config) {
    tle::KvCacheConfig cache;
    cache.setEnableBlockReuse(config.block_reuse);
    cache.setFreeGpuMemoryFraction(config.kv_cache_fraction);
    if (config.kv_cache_tokens) cache.setMaxTokens(size32(*config.kv_cache_tokens));
    if (config.kv_cache_host_bytes > 0) cache.setHostCacheSize(config.kv_cache_host_bytes);
    if (!config.attention_windows.empty()) {
        std::vector<tle::SizeType32> windows;
        for (const std::size_t keys : config.attention_windows) windows.push_back(size32(keys));
        cache.setMaxAttentionWindowVec(windows);
    }
    return cache;
}

tle::ExecutorConfig config_for(const Config& config) {
    tle::ExecutorConfig executor;
    // A sequence that has started is never paused for lack of KV blocks.
    executor.setSchedulerConfig(tle::SchedulerConfig(tle::CapacitySchedulerPolicy::kGUARANTEED_NO_EVICT));
    executor.setKvCacheConfig(kv_cache_for(config));
    executor.setEnableChunkedContext(config.chunked_context);
    executor.setMaxBatchSize(size32(config.max_batch_size));
    executor.setMaxNumTokens(size32(config.max_num_tokens));
    executor.setMaxQueueSize(size32(config.max_queue_size));
    executor.setGatherGenerationLogits(true);
    // By default the library also reserves the workspace of its top-p sampler: several numbers for each logit
    // of a full batch.
    if (!config.generates) executor.setDecodingConfig(tle::DecodingConfig(tle::DecodingMode::TopK()));
    if (config.ranks > 1) {
        tle::ParallelConfig parallel;
        if (config.processes == Processes::Orchestrator) {
            parallel.setCommunicationMode(tle::CommunicationMode::kORCHESTRATOR);
            parallel.setOrchestratorConfig(tle::OrchestratorConfig(true, config.worker.string()));
            executor.setRecvPollPeriodMs(kPollMilliseconds);
        }
        executor.setParallelConfig(parallel);
    }
    return executor;
}

// Presence and frequency penalties count the answer's tokens only, if the library has that option.
template <typename Config>
void ignore_prompt(Config& sampling, std::size_t prompt) {
    if constexpr (requires { sampling.setPromptIgnoreLength(size32(prompt)); })
        sampling.setPromptIgnoreLength(size32(prompt));
}

tle::SamplingConfig sampling_for(const Sequence& sequence) {
    const Sampling& chosen = sequence.sampling;
    tle::SamplingConfig sampling;
    if (chosen.temperature <= 0) {
        sampling.setTopK(1);
    } else {
        sampling.setTemperature(chosen.temperature);
        sampling.setTopK(size32(chosen.top_k));
        sampling.setTopP(chosen.top_p);
        // Without a seed, every request draws the same numbers.
        sampling.setSeed(chosen.seed);
        if (chosen.min_p > 0) sampling.setMinP(chosen.min_p);
    }
    if (chosen.repetition_penalty != 1) sampling.setRepetitionPenalty(chosen.repetition_penalty);
    if (chosen.presence_penalty != 0) sampling.setPresencePenalty(chosen.presence_penalty);
    if (chosen.frequency_penalty != 0) sampling.setFrequencyPenalty(chosen.frequency_penalty);
    if (chosen.presence_penalty != 0 || chosen.frequency_penalty != 0)
        ignore_prompt(sampling, sequence.tokens.size());
    // Without an end id, the library would suppress a token at index -1.
    if (chosen.min_tokens > 0 && !sequence.stop.empty()) sampling.setMinTokens(size32(chosen.min_tokens));
    return sampling;
}

void set_stops(tle::Request& request, std::span<const std::uint32_t> stop) {
    if (stop.empty()) return;
    request.setEndId(static_cast<tle::TokenIdType>(stop.front()));
    std::list<tle::VecTokens> words;
    for (const std::uint32_t token : stop.subspan(1)) words.push_back({static_cast<tle::TokenIdType>(token)});
    if (!words.empty()) request.setStopWords(words);
}

// A bias for each token of the vocabulary.
void set_bias(tle::Request& request, std::span<const Bias> biases, std::size_t vocabulary) {
    if (biases.empty()) return;
    tle::Tensor tensor = tle::Tensor::cpu(tle::DataType::kFP32, {static_cast<std::int64_t>(vocabulary)});
    auto* values = static_cast<float*>(tensor.getData());
    std::fill_n(values, vocabulary, 0.0f);
    for (const Bias& bias : biases) {
        if (bias.token >= vocabulary) throw EngineError("a bias names a token that the model does not have");
        values[bias.token] += bias.bias;
    }
    request.setEmbeddingBias(tensor);
}

tle::Request request_for(const Sequence& sequence, std::size_t vocabulary) {
    const bool scored = sequence.max_tokens == 0;
    tle::VecTokens tokens(sequence.tokens.begin(), sequence.tokens.end());
    tle::Request request(std::move(tokens), scored ? 1 : size32(sequence.max_tokens));
    request.setStreaming(!scored);
    request.setSamplingConfig(sampling_for(sequence));
    tle::OutputConfig output;
    output.returnGenerationLogits = scored || sequence.logits;
    output.excludeInputFromOutput = true;
    output.returnPerfMetrics = true;
    request.setOutputConfig(output);
    request.setPriority(sequence.priority);
    set_stops(request, sequence.stop);
    set_bias(request, sequence.bias, vocabulary);
    return request;
}

// The first `rows` logits of each token. The library gives [tokens, 1, vocabulary], for a single token
// [1, 1, vocabulary], with a padded vocabulary.
std::vector<float> logits_of(const tle::Result& result, std::size_t tokens, std::size_t rows) {
    if (tokens == 0) return {};
    if (!result.generationLogits) throw EngineError("TensorRT-LLM returned no logits");
    const tle::Tensor& logits = *result.generationLogits;
    if (logits.getDataType() != tle::DataType::kFP32)
        throw EngineError("the engine's logits are not 32-bit floats; build it with --logits_dtype float32");
    if (logits.getMemoryType() == tle::MemoryType::kGPU)
        throw EngineError("TensorRT-LLM left the logits in GPU memory");
    const std::size_t width = logits.getSize() / tokens;
    if (width < rows)
        throw EngineError("the engine gives " + std::to_string(width) +
                          " logits, fewer than the head has rows (" + std::to_string(rows) +
                          "); build it again");
    const auto* values = static_cast<const float*>(logits.getData());
    std::vector<float> given;
    given.reserve(tokens * rows);
    for (std::size_t token = 0; token < tokens; ++token)
        given.insert(given.end(), values + token * width, values + token * width + rows);
    return given;
}

Ending ending_of(const tle::Result& result) {
    if (!result.isFinal) return Ending::None;
    if (result.finishReasons.empty()) return Ending::Complete;
    switch (result.finishReasons.front()) {
        case tle::FinishReason::kLENGTH:
            return Ending::Complete;
        case tle::FinishReason::kEND_ID:
        case tle::FinishReason::kSTOP_WORDS:
            return Ending::Stopped;
        case tle::FinishReason::kTIMED_OUT:
            return Ending::TimedOut;
        case tle::FinishReason::kCANCELLED:
            return Ending::Cancelled;
        case tle::FinishReason::kNOT_FINISHED:
            break;
    }
    throw EngineError("TensorRT-LLM ended a sequence without a reason");
}

// Takes the tokens generated since the last response. An end id that the library leaves out is added last: it
// has no logits.
void fill_tokens(Answer& answer, const tle::Result& result, std::optional<std::uint32_t> end_id) {
    if (!result.outputTokenIds.empty()) {
        const tle::VecTokens& tokens = result.outputTokenIds.front();
        answer.tokens.assign(tokens.begin(), tokens.end());
    }
    const bool by_end_id = result.isFinal && !result.finishReasons.empty() &&
                           result.finishReasons.front() == tle::FinishReason::kEND_ID;
    if (by_end_id && end_id && (answer.tokens.empty() || answer.tokens.back() != *end_id))
        answer.tokens.push_back(*end_id);
}

bool succeeded(Ending ending) {
    return ending == Ending::None || ending == Ending::Complete || ending == Ending::Stopped;
}

}  // namespace

Executor::Executor(const Config& config) : head_rows_(config.head_rows) {
    register_plugins();
    executor_ =
        std::make_unique<tle::Executor>(config.directory, tle::ModelType::kDECODER_ONLY, config_for(config));
}

Executor::~Executor() {
    try {
        shutdown();
    } catch (const std::exception&) {
        // Nothing is left to do about it, and the library's own destructor follows.
    }
}

bool Executor::is_leader() const { return executor_->canEnqueueRequests(); }

// On a worker rank, the library's shutdown waits for the leader's.
void Executor::run_worker() { executor_->shutdown(); }

void Executor::enqueue(std::span<const Sequence> sequences) {
    if (sequences.empty()) return;
    std::vector<tle::Request> requests;
    requests.reserve(sequences.size());
    for (const Sequence& sequence : sequences) requests.push_back(request_for(sequence, head_rows_));
    // Held during the call, so that even an immediate answer finds its sequence.
    const std::lock_guard lock(mutex_);
    const std::vector<tle::IdType> ids = executor_->enqueueRequests(requests);
    for (std::size_t i = 0; i < ids.size(); ++i) {
        const Sequence& sequence = sequences[i];
        std::optional<std::uint32_t> end_id;
        if (!sequence.stop.empty()) end_id = sequence.stop.front();
        by_request_[ids[i]] = {sequence.id, sequence.max_tokens == 0, sequence.logits, end_id};
        by_sequence_[sequence.id] = ids[i];
    }
}

std::vector<Answer> Executor::await(std::chrono::milliseconds timeout) {
    const auto start = std::chrono::steady_clock::now();
    const std::vector<tle::Response> responses = executor_->awaitResponses(timeout);
    // Once the library's own thread has ended, every call returns at once.
    if (responses.empty() && std::chrono::steady_clock::now() - start < timeout / 2)
        throw EngineError("TensorRT-LLM has stopped");
    std::vector<Answer> answers;
    answers.reserve(responses.size());
    for (const tle::Response& response : responses)
        if (auto answer = answer_for(response)) answers.push_back(std::move(*answer));
    return answers;
}

std::optional<Answer> Executor::answer_for(const tle::Response& response) {
    const bool failed = response.hasError();
    const bool last = failed || response.getResult().isFinal;
    InFlight sequence;
    {
        const std::lock_guard lock(mutex_);
        const auto found = by_request_.find(response.getRequestId());
        // Answered before, or not one of ours.
        if (found == by_request_.end()) return std::nullopt;
        sequence = found->second;
        // A score has no use for partial responses.
        if (!last && sequence.scored) return std::nullopt;
        if (last) {
            by_request_.erase(found);
            by_sequence_.erase(sequence.sequence);
        }
    }
    Answer answer{sequence.sequence, Ending::Failed, sequence.scored, {}, {}, {}};
    if (failed) {
        answer.error = response.getErrorMsg();
        return answer;
    }
    try {
        const tle::Result& result = response.getResult();
        const Ending ending = ending_of(result);
        if (succeeded(ending)) {
            if (sequence.scored) {
                answer.logits = logits_of(result, 1, head_rows_);
            } else {
                const std::size_t tokens =
                    result.outputTokenIds.empty() ? 0 : result.outputTokenIds.front().size();
                if (sequence.logits) answer.logits = logits_of(result, tokens, head_rows_);
                fill_tokens(answer, result, sequence.end_id);
            }
        }
        if (const auto& metrics = result.requestPerfMetrics)
            answer.reused_blocks = static_cast<std::size_t>(metrics->kvCacheMetrics.numReusedBlocks);
        answer.ending = ending;
    } catch (const std::exception& error) {
        answer = {sequence.sequence, Ending::Failed, sequence.scored, {}, {}, error.what()};
        if (!last) abandon(response.getRequestId(), sequence.sequence);
    }
    return answer;
}

void Executor::abandon(std::uint64_t request, std::uint64_t sequence) {
    {
        const std::lock_guard lock(mutex_);
        by_request_.erase(request);
        by_sequence_.erase(sequence);
    }
    executor_->cancelRequest(request);
}

void Executor::cancel(std::uint64_t sequence) {
    std::optional<tle::IdType> request;
    {
        const std::lock_guard lock(mutex_);
        const auto found = by_sequence_.find(sequence);
        if (found != by_sequence_.end()) request = found->second;
    }
    if (request) executor_->cancelRequest(*request);
}

void Executor::cancel_all() {
    std::vector<tle::IdType> requests;
    {
        const std::lock_guard lock(mutex_);
        for (const auto& [sequence, request] : by_sequence_) requests.push_back(request);
    }
    for (const tle::IdType request : requests) executor_->cancelRequest(request);
}

std::size_t Executor::in_flight() const {
    const std::lock_guard lock(mutex_);
    return by_request_.size();
}

Statistics Executor::statistics() {
    Statistics sums{};
    for (const tle::IterationStats& iteration : executor_->getLatestIterationStats()) {
        sums.iterations += 1;
        sums.milliseconds += iteration.iterLatencyMS;
        if (const auto& batch = iteration.inflightBatchingStats) {
            sums.context_tokens += static_cast<std::size_t>(batch->numCtxTokens);
            sums.generated_tokens += static_cast<std::size_t>(batch->numGenRequests);
            sums.scheduled = static_cast<std::size_t>(batch->numScheduledRequests);
        }
        if (const auto& cache = iteration.kvCacheStats) {
            sums.kv_blocks = static_cast<std::size_t>(cache->maxNumBlocks);
            sums.kv_blocks_free = static_cast<std::size_t>(cache->freeNumBlocks);
            sums.tokens_per_block = static_cast<std::size_t>(cache->tokensPerBlock);
            const auto reused = static_cast<std::size_t>(cache->reusedBlocks);
            sums.kv_blocks_reused += reused > reused_ ? reused - reused_ : 0;
            reused_ = reused;
        }
    }
    return sums;
}

void Executor::shutdown() { executor_->shutdown(); }

}  // namespace assay::trtllm
