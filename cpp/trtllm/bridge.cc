#include "trtllm/bridge.h"

#include "assay/src/engine/bridge.rs.h"

namespace assay::bridge {
namespace {

std::string error_of(const trtllm::Answer& answer) {
    switch (answer.ending) {
        case trtllm::Ending::None:
        case trtllm::Ending::Complete:
        case trtllm::Ending::Stopped:
            return {};
        case trtllm::Ending::Cancelled:
            return "the sequence was cancelled";
        case trtllm::Ending::TimedOut:
            return "TensorRT-LLM took longer for the sequence than it was allowed";
        case trtllm::Ending::Failed:
            return answer.error;
    }
    return "TensorRT-LLM gave an unknown reason";
}

TrtllmState state_of(trtllm::Ending ending) {
    switch (ending) {
        case trtllm::Ending::None:
            return TrtllmState::Running;
        case trtllm::Ending::Complete:
        case trtllm::Ending::Stopped:
            return TrtllmState::Finished;
        case trtllm::Ending::Cancelled:
        case trtllm::Ending::TimedOut:
        case trtllm::Ending::Failed:
            break;
    }
    return TrtllmState::Failed;
}

template <typename T>
rust::Vec<T> vec_of(const std::vector<T>& values) {
    rust::Vec<T> given;
    given.reserve(values.size());
    for (const T value : values) given.push_back(value);
    return given;
}

trtllm::Sampling sampling_of(const TrtllmSampling& sampling) {
    return {.temperature = sampling.temperature,
            .top_k = sampling.top_k,
            .top_p = sampling.top_p,
            .min_p = sampling.min_p,
            .repetition_penalty = sampling.repetition_penalty,
            .presence_penalty = sampling.presence_penalty,
            .frequency_penalty = sampling.frequency_penalty,
            .seed = sampling.seed,
            .min_tokens = sampling.min_tokens};
}

std::vector<trtllm::Bias> bias_of(const rust::Vec<TrtllmBias>& bias) {
    std::vector<trtllm::Bias> given;
    for (const TrtllmBias& one : bias) given.push_back({one.token, one.bias});
    return given;
}

}  // namespace

std::shared_ptr<TrtllmExecutor> open_trtllm(const TrtllmConfig& config) {
    using trtllm::Processes;
    const std::string worker(config.worker);
    trtllm::Config executor{
        .directory = std::string(config.directory),
        .head_rows = config.head_rows,
        .max_batch_size = config.max_batch_size,
        .max_num_tokens = config.max_num_tokens,
        .max_queue_size = config.max_queue_size,
        .kv_cache_tokens = std::nullopt,
        .kv_cache_fraction = config.kv_cache_fraction,
        .kv_cache_host_bytes = config.kv_cache_host_bytes,
        .block_reuse = config.block_reuse,
        .chunked_context = config.chunked_context,
        .generates = config.generates,
        .attention_windows = {config.attention_windows.begin(), config.attention_windows.end()},
        .ranks = config.ranks,
        .processes = worker.empty() ? Processes::Leader : Processes::Orchestrator,
        .worker = worker,
    };
    if (config.kv_cache_tokens > 0) executor.kv_cache_tokens = config.kv_cache_tokens;
    return std::make_shared<TrtllmExecutor>(executor);
}

void TrtllmExecutor::enqueue(rust::Slice<const TrtllmSequence> sequences,
                             rust::Slice<const std::uint32_t> token_ids) const {
    const std::span<const std::uint32_t> all = span_of(token_ids);
    const std::string what = "a sequence's part of the token ids";
    std::vector<trtllm::Sequence> batch;
    batch.reserve(sequences.size());
    for (const TrtllmSequence& sequence : sequences)
        batch.push_back({.id = sequence.id,
                         .tokens = part_of(all, sequence.token_begin, sequence.token_end, what),
                         .max_tokens = sequence.max_tokens,
                         .stop = part_of(all, sequence.token_end, sequence.stop_end, what),
                         .sampling = sampling_of(sequence.sampling),
                         .bias = bias_of(sequence.bias),
                         .logits = sequence.logits,
                         .priority = sequence.priority});
    executor_.enqueue(batch);
}

rust::Vec<TrtllmAnswer> TrtllmExecutor::await_answers(std::uint64_t timeout_ms) const {
    rust::Vec<TrtllmAnswer> answers;
    for (const trtllm::Answer& answer : executor_.await(std::chrono::milliseconds(timeout_ms))) {
        TrtllmAnswer given;
        given.id = answer.id;
        given.state = state_of(answer.ending);
        given.scored = answer.scored;
        given.tokens = vec_of(answer.tokens);
        given.logits = vec_of(answer.logits);
        given.reused_blocks = answer.reused_blocks;
        given.error = rust::String::lossy(error_of(answer));
        answers.push_back(std::move(given));
    }
    return answers;
}

TrtllmStatistics TrtllmExecutor::statistics() const {
    const trtllm::Statistics sums = executor_.statistics();
    return {sums.iterations,       sums.context_tokens + sums.generated_tokens,
            sums.milliseconds,     sums.scheduled,
            sums.kv_blocks,        sums.kv_blocks_free,
            sums.kv_blocks_reused, sums.tokens_per_block};
}

}  // namespace assay::bridge
