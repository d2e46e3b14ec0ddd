#include "trtllm/handle.h"

#include "assay/src/engine/bridge.rs.h"

namespace assay::bridge {
namespace {

// Every sequence of the server's is as urgent as the others: it comes when the scheduler has chosen it.
constexpr float kPriority = 0.5f;

std::string error_of(const trtllm::Answer& answer) {
    switch (answer.ending) {
        case trtllm::Ending::COMPLETE:
            return {};
        case trtllm::Ending::CANCELLED:
            return "the sequence was cancelled";
        case trtllm::Ending::TIMED_OUT:
            return "TensorRT-LLM took longer for the sequence than it was allowed";
        case trtllm::Ending::FAILED:
            return answer.error;
    }
    return "TensorRT-LLM answered with an ending that is not known";
}

}  // namespace

std::shared_ptr<TrtllmHandle> open_trtllm(const TrtllmConfig& config) {
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
        .kv_cache_host_bytes = 0,
        .block_reuse = config.block_reuse,
        .chunked_context = config.chunked_context,
        .ranks = config.ranks,
        .processes = worker.empty() ? Processes::LEADER : Processes::ORCHESTRATOR,
        .worker = worker,
    };
    if (config.kv_cache_tokens > 0) executor.kv_cache_tokens = config.kv_cache_tokens;
    return std::make_shared<TrtllmHandle>(executor);
}

void TrtllmHandle::enqueue(rust::Slice<const TrtllmSequence> sequences,
                           rust::Slice<const std::uint32_t> token_ids) const {
    const std::span<const std::uint32_t> all(token_ids.data(), token_ids.size());
    std::vector<trtllm::Sequence> batch;
    batch.reserve(sequences.size());
    for (const TrtllmSequence& sequence : sequences) {
        if (sequence.token_begin > sequence.token_end || sequence.token_end > all.size())
            throw trtllm::EngineError("a sequence's tokens lie outside those handed over");
        const auto tokens = all.subspan(sequence.token_begin, sequence.token_end - sequence.token_begin);
        batch.push_back({sequence.id, tokens, 0, {}, kPriority});
    }
    executor_.enqueue(batch);
}

rust::Vec<TrtllmAnswer> TrtllmHandle::await_answers(std::uint64_t timeout_ms) const {
    rust::Vec<TrtllmAnswer> answers;
    for (const trtllm::Answer& answer : executor_.await(std::chrono::milliseconds(timeout_ms))) {
        TrtllmAnswer given{answer.id, {}, rust::String::lossy(error_of(answer))};
        given.logits.reserve(answer.logits.size());
        for (const float logit : answer.logits) given.logits.push_back(logit);
        answers.push_back(std::move(given));
    }
    return answers;
}

TrtllmCache TrtllmHandle::cache() const {
    const trtllm::Statistics statistics = executor_.statistics();
    return {statistics.kv_blocks, statistics.tokens_per_block};
}

}  // namespace assay::bridge
