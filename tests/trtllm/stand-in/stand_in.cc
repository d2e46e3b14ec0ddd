// Answers as TensorRT-LLM's Executor does, without a GPU, and misbehaves as it is told to.

#include <algorithm>
#include <atomic>
#include <condition_variable>
#include <mutex>
#include <random>
#include <set>
#include <stdexcept>
#include <thread>

#include "script.h"
#include "tensorrt_llm/executor/executor.h"

using stand_in::Script;

namespace {

// Logits after `count` tokens, `[width]`.
using Model = void (*)(void* context, const std::int32_t* tokens, std::size_t count, float* logits,
                       std::size_t width);

struct Given {
    Model model = nullptr;
    void* context = nullptr;
};

std::mutex given_mutex;
Given given;

constexpr std::uint64_t kSeed = 0x9e3779b97f4a7c15;

// The finaliser of SplitMix64, as in src/engine/simulated.rs: both give one text the same logits.
std::uint64_t mix(std::uint64_t value) {
    value += kSeed;
    value = (value ^ (value >> 30)) * 0xbf58476d1ce4e5b9;
    value = (value ^ (value >> 27)) * 0x94d049bb133111eb;
    return value ^ (value >> 31);
}

}  // namespace

// What sequences are answered with where the script says `callback`.
extern "C" void stand_in_set_model(Model model, void* context) {
    const std::lock_guard lock(given_mutex);
    given = {model, context};
}

namespace tensorrt_llm::executor {

Request::Request(VecTokens inputTokenIds, SizeType32 maxTokens, bool)
    : tokens_(std::move(inputTokenIds)), max_tokens_(maxTokens) {
    if (tokens_.empty() || max_tokens_ < 1)
        throw std::runtime_error("[TensorRT-LLM][ERROR] Assertion failed: !inputTokenIds.empty()");
}

void Request::setPriority(PriorityType priority) {
    if (priority < 0 || priority > 1)
        throw std::runtime_error("[TensorRT-LLM][ERROR] Priority should be in [0, 1]");
    priority_ = priority;
}

Response::Response(IdType requestId, std::string errorMsg, std::optional<IdType>)
    : request_(requestId), error_(std::move(errorMsg)) {}

Response::Response(IdType requestId, Result Result, std::optional<IdType>)
    : request_(requestId), result_(std::move(Result)) {}

std::string const& Response::getErrorMsg() const {
    if (!error_) throw std::runtime_error("[TensorRT-LLM][ERROR] Cannot get error message: no error");
    return *error_;
}

Result const& Response::getResult() const {
    if (!result_) throw std::runtime_error("[TensorRT-LLM][ERROR] Cannot get result: there was an error");
    return *result_;
}

class Executor::Impl {
  public:
    Impl(const std::filesystem::path& directory, const ExecutorConfig& config)
        : script_(Script::read(directory)), config_(config), random_(script_.seed) {
        if (!script_.load_error.empty()) throw std::runtime_error(script_.load_error);
        if (const auto parallel = config_.getParallelConfig();
            parallel && parallel->getCommunicationMode() == CommunicationMode::kORCHESTRATOR &&
            !std::filesystem::exists(parallel->getOrchestratorConfig()->getWorkerExecutablePath()))
            throw std::runtime_error("[TensorRT-LLM][ERROR] the worker executable cannot be spawned");
        thread_ = std::thread([this] { run(); });
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
            queue_.push_back({ids.back(), request});
        }
        std::stable_sort(queue_.begin(), queue_.end(), [](const Queued& a, const Queued& b) {
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
        if (script_.reorder) std::shuffle(responses_.begin(), responses_.end(), random_);
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

    bool can_enqueue() const { return !shut_down_ && !script_.follows; }

  private:
    struct Queued {
        IdType id;
        Request request;
    };

    void check_running(const char* what) const {
        if (shut_down_)
            throw std::runtime_error(std::string("[TensorRT-LLM][ERROR] Shutdown called, ") + what);
    }

    void run() {
        std::unique_lock lock(mutex_);
        while (true) {
            queued_.wait(lock, [this] { return !queue_.empty() || ending_; });
            if (queue_.empty() || (ending_ && stalled())) break;
            ++step_;
            if (step_ == script_.die_in_step) break;
            if (stalled()) {
                queued_.wait(lock, [this] { return ending_; });
                break;
            }
            std::vector<Queued> active = take();
            lock.unlock();
            std::vector<Response> answers = answer(active);
            lock.lock();
            report(active);
            for (Response& response : answers) responses_.push_back(std::move(response));
            responded_.notify_all();
        }
        stopped_ = true;
        responded_.notify_all();
    }

    bool stalled() const { return script_.stall_in_step > 0 && step_ >= script_.stall_in_step; }

    std::vector<Queued> take() {
        const std::size_t most = static_cast<std::size_t>(config_.getMaxBatchSize().value_or(1));
        const auto end = queue_.begin() + static_cast<std::ptrdiff_t>(std::min(most, queue_.size()));
        std::vector<Queued> active(std::make_move_iterator(queue_.begin()), std::make_move_iterator(end));
        queue_.erase(queue_.begin(), end);
        return active;
    }

    std::vector<Response> answer(const std::vector<Queued>& active) {
        const std::size_t extra = script_.jitter > 0 ? draw() % script_.jitter : 0;
        if (script_.delay + extra > 0)
            std::this_thread::sleep_for(std::chrono::microseconds(script_.delay + extra));
        const bool failed = is_due_unlocked(script_.fail_step_share);
        std::vector<Response> answers;
        for (const Queued& queued : active) {
            if (failed) {
                answers.emplace_back(queued.id,
                                     "Encountered an error in forwardAsync function: CUDA error: as asked");
                continue;
            }
            if (is_due_unlocked(script_.partial_share)) {
                Result partial{};
                answers.emplace_back(queued.id, partial);
            }
            answers.push_back(answer_one(queued));
            if (is_due_unlocked(script_.twice_share)) answers.push_back(answers.back());
        }
        return answers;
    }

    Response answer_one(const Queued& queued) {
        if (is_due_unlocked(script_.error_share))
            return {queued.id, std::string("Encountered an error when fetching new request: as asked")};
        Result result{};
        result.isFinal = true;
        result.finishReasons = {reason_for(queued.id)};
        if (result.finishReasons.front() != FinishReason::kCANCELLED &&
            result.finishReasons.front() != FinishReason::kTIMED_OUT)
            compute(queued.request, result);
        return {queued.id, std::move(result)};
    }

    FinishReason reason_for(IdType id) {
        {
            const std::lock_guard lock(mutex_);
            if (cancelled_.erase(id) > 0) return FinishReason::kCANCELLED;
        }
        if (is_due_unlocked(script_.time_out_share)) return FinishReason::kTIMED_OUT;
        if (is_due_unlocked(script_.unfinished_share)) return FinishReason::kNOT_FINISHED;
        return FinishReason::kLENGTH;
    }

    void compute(const Request& request, Result& result) const {
        VecTokens tokens = request.getInputTokenIds();
        const std::size_t prompt = tokens.size();
        std::vector<float> logits;
        for (SizeType32 i = 0; i < request.getMaxTokens(); ++i) {
            logits = logits_after(tokens);
            const auto best =
                std::max_element(logits.begin(), logits.begin() + static_cast<std::ptrdiff_t>(script_.rows));
            tokens.push_back(static_cast<TokenIdType>(best - logits.begin()));
            if (stops(request, tokens.back())) {
                result.finishReasons = {FinishReason::kSTOP_WORDS};
                break;
            }
        }
        const std::size_t from = request.getOutputConfig().excludeInputFromOutput ? prompt : 0;
        result.outputTokenIds = {VecTokens(tokens.begin() + static_cast<std::ptrdiff_t>(from), tokens.end())};
        const bool gathered = config_.getGatherGenerationLogits() && !script_.logits_missing;
        if (request.getOutputConfig().returnGenerationLogits && gathered)
            result.generationLogits =
                Tensor(std::move(logits), script_.logits_half ? DataType::kFP16 : DataType::kFP32,
                       script_.logits_on_gpu ? MemoryType::kGPU : MemoryType::kCPU_PINNED);
    }

    static bool stops(const Request& request, TokenIdType token) {
        const auto words = request.getStopWords();
        return words && std::find(words->begin(), words->end(), VecTokens{token}) != words->end();
    }

    std::vector<float> logits_after(const VecTokens& tokens) const {
        std::vector<float> logits(script_.vocabulary, 0.0f);
        if (script_.callback) {
            const std::lock_guard lock(given_mutex);
            if (given.model != nullptr)
                given.model(given.context, tokens.data(), tokens.size(), logits.data(), logits.size());
            return logits;
        }
        if (!script_.logits.empty()) {
            std::copy_n(script_.logits.begin(), std::min(logits.size(), script_.logits.size()),
                        logits.begin());
            return logits;
        }
        std::uint64_t state = kSeed;
        for (const TokenIdType token : tokens) state = mix(state ^ (static_cast<std::uint64_t>(token) + 1));
        for (std::size_t row = 0; row < std::min(script_.rows, logits.size()); ++row)
            logits[row] = static_cast<float>(mix(state + row) >> 48) / 8192.0f - 4.0f;
        return logits;
    }

    void report(const std::vector<Queued>& active) {
        IterationStats stats{};
        stats.iter = step_;
        stats.iterLatencyMS = static_cast<double>(script_.delay) / 1000;
        stats.numActiveRequests = static_cast<SizeType32>(active.size());
        stats.numQueuedRequests = static_cast<SizeType32>(queue_.size());
        std::size_t blocks = script_.kv_blocks;
        if (const auto tokens = config_.getKvCacheConfig().getMaxTokens())
            blocks = static_cast<std::size_t>(*tokens) / script_.tokens_per_block;
        const auto count = static_cast<SizeType32>(blocks);
        stats.kvCacheStats = KvCacheStats{count, count, 0, static_cast<SizeType32>(script_.tokens_per_block)};
        SizeType32 tokens = 0;
        for (const Queued& queued : active)
            tokens += static_cast<SizeType32>(queued.request.getInputTokenIds().size());
        stats.inflightBatchingStats =
            InflightBatchingStats{stats.numActiveRequests, stats.numActiveRequests, tokens};
        statistics_.push_back(stats);
        if (statistics_.size() > 1000) statistics_.pop_front();
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
    const ExecutorConfig config_;
    std::mutex mutex_;
    std::condition_variable queued_;
    std::condition_variable responded_;
    std::mt19937_64 random_;
    std::deque<Queued> queue_;
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
