// Answers as TensorRT-LLM's Executor does, without a GPU, and misbehaves as its script says.

#include "tensorrt_llm/executor/executor.h"

#include <algorithm>
#include <atomic>
#include <condition_variable>
#include <mutex>
#include <random>
#include <set>
#include <stdexcept>
#include <thread>

#include "asked_for.h"
#include "engine_config.h"
#include "given_model.h"
#include "group.h"
#include "logits.h"
#include "prefix_cache.h"
#include "script.h"
#include "sequence.h"

using stand_in::mix;
using stand_in::Script;
using stand_in::Sequence;

namespace tensorrt_llm::executor {

class Executor::Impl {
  public:
    Impl(const std::filesystem::path& directory, const ExecutorConfig& config)
        : script_(Script::read(directory)),
          engine_(read_engine(directory, script_)),
          config_(config),
          group_(script_, directory, config_),
          random_(script_.seed),
          cache_(config_.getKvCacheConfig().getEnableBlockReuse(), script_.tokens_per_block) {
        if (script_.echo) stand_in::write_asked_for(config_, directory);
        thread_ = std::thread([this] { group_.follows() ? group_.follow() : run(); });
    }

    ~Impl() { shutdown(); }

    std::vector<IdType> enqueue(const std::vector<Request>& requests) {
        check_running("cannot enqueue requests");
        const std::lock_guard lock(mutex_);
        const std::size_t most = static_cast<std::size_t>(config_.getMaxQueueSize().value_or(0));
        if (is_due(script_.refuse_share) || (most > 0 && queue_.size() + requests.size() > most))
            throw std::runtime_error("[TensorRT-LLM][ERROR] Maximum queue size of " + std::to_string(most) +
                                     " has been reached, please try again later");
        std::vector<IdType> ids;
        for (const Request& request : requests) {
            ids.push_back(next_id_++);
            queue_.push_back({ids.back(), request, request.getInputTokenIds(), 0});
        }
        std::stable_sort(queue_.begin(), queue_.end(), [](const Sequence& a, const Sequence& b) {
            return a.request.getPriority() > b.request.getPriority();
        });
        queued_.notify_one();
        return ids;
    }

    std::vector<Response> await(const std::optional<std::chrono::milliseconds>& timeout) {
        check_running("cannot await responses");
        std::unique_lock lock(mutex_);
        const auto ready = [this] { return !responses_.empty() || stopped_; };
        if (timeout) {
            responded_.wait_for(lock, *timeout, ready);
        } else {
            responded_.wait(lock, ready);
        }
        if (script_.reorder) reorder();
        return std::exchange(responses_, {});
    }

    void cancel(IdType id) {
        check_running("cannot cancel requests");
        const std::lock_guard lock(mutex_);
        cancelled_.insert(id);
    }

    void shutdown() {
        if (shut_down_.exchange(true)) return;
        {
            const std::lock_guard lock(mutex_);
            ending_ = true;
        }
        queued_.notify_one();
        thread_.join();
    }

    std::deque<IterationStats> statistics() {
        check_running("cannot get statistics");
        const std::lock_guard lock(mutex_);
        return std::exchange(statistics_, {});
    }

    bool can_enqueue() const { return !shut_down_ && !group_.follows(); }

  private:
    static stand_in::EngineConfig read_engine(const std::filesystem::path& directory, const Script& script) {
        auto engine = stand_in::EngineConfig::read(directory);
        if (script.devices > 0) engine.check_node(script.ranks, script.devices);
        return engine;
    }

    void check_running(const char* what) const {
        if (shut_down_)
            throw std::runtime_error(std::string("[TensorRT-LLM][ERROR] Shutdown called, ") + what);
        if (group_.follows())
            throw std::runtime_error(std::string("[TensorRT-LLM][ERROR] only the leader rank is asked: ") +
                                     what);
    }

    void run() {
        std::unique_lock lock(mutex_);
        while (true) {
            queued_.wait(lock, [this] { return !queue_.empty() || !active_.empty() || ending_; });
            if ((queue_.empty() && active_.empty()) || (ending_ && stalled())) break;
            ++step_;
            if (step_ == script_.die_in_step) break;
            if (stalled()) {
                queued_.wait(lock, [this] { return ending_; });
                break;
            }
            admit();
            const std::size_t count = active_.size();
            lock.unlock();
            std::vector<Response> answers = answer();
            lock.lock();
            report(count);
            for (Response& response : answers) responses_.push_back(std::move(response));
            responded_.notify_all();
        }
        const bool orderly = ending_;
        lock.unlock();
        if (orderly) group_.end_others();
        lock.lock();
        stopped_ = true;
        responded_.notify_all();
    }

    bool stalled() const { return script_.stall_in_step > 0 && step_ >= script_.stall_in_step; }

    // Sequences join those in flight between steps, as far as the batch has room.
    void admit() {
        const std::size_t most = static_cast<std::size_t>(config_.getMaxBatchSize().value_or(1));
        context_tokens_ = 0;
        while (!queue_.empty() && active_.size() < most) {
            context_tokens_ += queue_.front().tokens.size();
            active_.push_back(std::move(queue_.front()));
            queue_.pop_front();
        }
    }

    // A step: every sequence in flight gets on by a token, and those that are done leave.
    std::vector<Response> answer() {
        const std::size_t extra = script_.jitter > 0 ? draw() % script_.jitter : 0;
        if (script_.delay + extra > 0)
            std::this_thread::sleep_for(std::chrono::microseconds(script_.delay + extra));
        const std::string failure = step_failure();
        const bool failed = !failure.empty();
        std::vector<Response> answers;
        std::vector<Sequence> remaining;
        stand_in::PrefixCache::Blocks contributed;
        for (Sequence& sequence : active_) {
            const bool starts = sequence.generated == 0;
            if (!failed && starts && cache_.is_held_back(sequence.tokens, contributed)) {
                remaining.push_back(std::move(sequence));
                continue;
            }
            if (failed) {
                answers.emplace_back(sequence.id,
                                     "Encountered an error in forwardAsync function: " + failure);
                continue;
            }
            const bool scored = !sequence.request.getStreaming();
            if (scored && is_due_unlocked(script_.partial_share)) {
                Result partial{};
                answers.emplace_back(sequence.id, partial);
            }
            answers.push_back(advance(sequence));
            if (!answers.back().hasError() && !answers.back().getResult().isFinal)
                remaining.push_back(std::move(sequence));
            else if (is_due_unlocked(script_.twice_share))
                answers.push_back(answers.back());
        }
        active_ = std::move(remaining);
        cache_.end_step();
        return answers;
    }

    // Whether a prompt has an id beyond the embedding, which the library does not check.
    bool gathers_outside(const Sequence& sequence) const {
        const auto is_outside = [this](TokenIdType token) {
            return token < 0 || static_cast<std::size_t>(token) >= script_.embedding;
        };
        return script_.embedding > 0 &&
               std::any_of(sequence.tokens.begin(), sequence.tokens.end(), is_outside);
    }

    // Pinned host memory that a request's logits take from when it is fetched until it ends.
    std::size_t pinned(const Sequence& sequence) const {
        if (script_.pinned_bytes == 0 || !sequence.request.getOutputConfig().returnGenerationLogits) return 0;
        return static_cast<std::size_t>(sequence.request.getMaxTokens()) * script_.vocabulary * sizeof(float);
    }

    std::size_t pinned() const {
        std::size_t sum = 0;
        for (const Sequence& sequence : active_) sum += pinned(sequence);
        return sum;
    }

    // Whether the model with its windows, and the cache with what it reuses, see all that a sequence needs.
    // Out of a window, the versions around 1.2 reuse blocks of other texts.
    bool reuses_wrongly(const Sequence& sequence) const {
        const KvCacheConfig cache = config_.getKvCacheConfig();
        const auto windows = cache.getMaxAttentionWindowVec();
        if (!windows || !cache.getEnableBlockReuse()) return false;
        const auto shortest = static_cast<std::size_t>(*std::min_element(windows->begin(), windows->end()));
        return sequence.tokens.size() > shortest;
    }

    // Why this step fails, and every sequence in flight with it; empty if it does not.
    std::string step_failure() {
        if (is_due_unlocked(script_.fail_step_share)) return "CUDA error: as asked";
        if (!engine_.logits_fit()) return "Incompatible buffer sizes";
        if (std::any_of(active_.begin(), active_.end(),
                        [this](const Sequence& one) { return gathers_outside(one); }))
            return "CUDA error: an illegal memory access was encountered";
        if (!group_.compute(active_)) return "NCCL error: a rank has gone";
        return {};
    }

    Response advance(Sequence& sequence) {
        const bool first = sequence.generated == 0;
        if (stand_in::is_top_k_only(config_) && sequence.request.getSamplingConfig().getTopP())
            return {sequence.id,
                    std::string("Encountered an error when fetching new request: top-p is not decoded")};
        if (first && pinned() > script_.pinned_bytes && pinned(sequence) > 0)
            return {sequence.id,
                    std::string("Encountered an error when fetching new request: CUDA error: out of "
                                "memory in cudaHostAlloc")};
        if (first && is_due_unlocked(script_.error_share))
            return {sequence.id, std::string("Encountered an error when fetching new request: as asked")};
        Result result{};
        if (const auto reason = interruption(sequence)) {
            result.isFinal = true;
            result.finishReasons = {*reason};
            return {sequence.id, std::move(result)};
        }
        if (first) sequence.reused = cache_.reuse(sequence.tokens);
        std::vector<float> logits = logits_after(sequence);
        if (reuses_wrongly(sequence)) std::fill(logits.begin(), logits.end(), 1e30f);
        stand_in::generate(sequence, std::span(logits).first(script_.rows), result);
        if (!result.isFinal) result.finishReasons = {FinishReason::kNOT_FINISHED};
        const OutputConfig output = sequence.request.getOutputConfig();
        if (output.returnPerfMetrics && result.isFinal) {
            result.requestPerfMetrics = RequestPerfMetrics{};
            result.requestPerfMetrics->kvCacheMetrics.numReusedBlocks = sequence.reused;
        }
        const bool gathered = config_.getGatherGenerationLogits() && !script_.logits_missing;
        // An end id has none, because it is not among the tokens.
        if (output.returnGenerationLogits && gathered && !result.outputTokenIds.front().empty())
            result.generationLogits =
                Tensor(std::move(logits), script_.logits_half ? DataType::kFP16 : DataType::kFP32,
                       script_.logits_on_gpu ? MemoryType::kGPU : MemoryType::kCPU_PINNED);
        if (result.isFinal && is_due_unlocked(script_.unfinished_share))
            result.finishReasons = {FinishReason::kNOT_FINISHED};
        return {sequence.id, std::move(result)};
    }

    std::optional<FinishReason> interruption(const Sequence& sequence) {
        {
            const std::lock_guard lock(mutex_);
            if (cancelled_.erase(sequence.id) > 0) return FinishReason::kCANCELLED;
        }
        if (sequence.generated == 0 && is_due_unlocked(script_.time_out_share))
            return FinishReason::kTIMED_OUT;
        return std::nullopt;
    }

    std::vector<float> logits_after(const Sequence& sequence) const {
        if (group_.has_others()) return sequence.logits;
        if (script_.callback == 0) return stand_in::logits_of(script_, sequence.tokens, 0, 1);
        return stand_in::logits_of_given(script_.callback, sequence.tokens, script_.vocabulary);
    }

    void report(std::size_t count) {
        IterationStats stats{};
        stats.iter = step_;
        stats.iterLatencyMS = static_cast<double>(script_.delay) / 1000;
        stats.numActiveRequests = static_cast<SizeType32>(count);
        stats.numQueuedRequests = static_cast<SizeType32>(queue_.size());
        std::size_t blocks = script_.kv_blocks;
        if (const auto tokens = config_.getKvCacheConfig().getMaxTokens())
            blocks = static_cast<std::size_t>(*tokens) / script_.tokens_per_block;
        stats.kvCacheStats = KvCacheStats{};
        stats.kvCacheStats->maxNumBlocks = static_cast<SizeType32>(blocks);
        stats.kvCacheStats->freeNumBlocks = static_cast<SizeType32>(blocks);
        stats.kvCacheStats->tokensPerBlock = static_cast<SizeType32>(script_.tokens_per_block);
        stats.kvCacheStats->reusedBlocks = cache_.reused();
        stats.inflightBatchingStats = InflightBatchingStats{};
        stats.inflightBatchingStats->numScheduledRequests = stats.numActiveRequests;
        stats.inflightBatchingStats->numCtxTokens = static_cast<SizeType32>(context_tokens_);
        statistics_.push_back(stats);
        if (statistics_.size() > 1000) statistics_.pop_front();
    }

    // Sequences in any order, yet the responses of each in theirs. Under the lock.
    void reorder() {
        const std::uint64_t salt = random_();
        std::stable_sort(responses_.begin(), responses_.end(), [salt](const Response& a, const Response& b) {
            return mix(a.getRequestId() ^ salt) < mix(b.getRequestId() ^ salt);
        });
    }

    // Under the lock.
    bool is_due(std::size_t share) {
        return share > 0 && step_ >= script_.calm_steps && random_() % 1'000'000 < share;
    }

    std::uint64_t draw() {
        const std::lock_guard lock(mutex_);
        return random_();
    }

    bool is_due_unlocked(std::size_t share) {
        const std::lock_guard lock(mutex_);
        return is_due(share);
    }

    const Script script_;
    const stand_in::EngineConfig engine_;
    const ExecutorConfig config_;
    stand_in::Group group_;
    std::mutex mutex_;
    std::condition_variable queued_;
    std::condition_variable responded_;
    std::mt19937_64 random_;
    std::deque<Sequence> queue_;
    // Used by the library's own thread only, like the tokens that joined with the last step.
    std::vector<Sequence> active_;
    stand_in::PrefixCache cache_;
    std::size_t context_tokens_ = 0;
    std::vector<Response> responses_;
    std::set<IdType> cancelled_;
    std::deque<IterationStats> statistics_;
    IdType next_id_ = 1;
    std::size_t step_ = 0;
    bool ending_ = false;
    bool stopped_ = false;
    std::atomic<bool> shut_down_ = false;
    std::thread thread_;
};

Executor::Executor(std::filesystem::path const& modelPath, ModelType, ExecutorConfig const& executorConfig)
    : impl_(std::make_unique<Impl>(modelPath, executorConfig)) {}

Executor::~Executor() = default;

std::vector<IdType> Executor::enqueueRequests(std::vector<Request> const& requests) {
    return impl_->enqueue(requests);
}

std::vector<Response> Executor::awaitResponses(std::optional<std::chrono::milliseconds> const& timeout) {
    return impl_->await(timeout);
}

void Executor::cancelRequest(IdType requestId) { impl_->cancel(requestId); }

void Executor::shutdown() { impl_->shutdown(); }

std::deque<IterationStats> Executor::getLatestIterationStats() { return impl_->statistics(); }

bool Executor::canEnqueueRequests() const { return impl_->can_enqueue(); }

}  // namespace tensorrt_llm::executor
