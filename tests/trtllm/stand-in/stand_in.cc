// Answers as TensorRT-LLM's Executor does, without a GPU, and misbehaves as its script says.

#include <algorithm>
#include <atomic>
#include <condition_variable>
#include <fstream>
#include <map>
#include <mutex>
#include <random>
#include <set>
#include <stdexcept>
#include <thread>

#include "choice.h"
#include "engine_config.h"
#include "logits.h"
#include "ranks.h"
#include "script.h"
#include "tensorrt_llm/executor/executor.h"

using stand_in::kSeed;
using stand_in::mix;
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
std::map<std::size_t, Given> given;

}  // namespace

// What sequences are answered with where the script says `callback` and this number.
extern "C" void stand_in_set_model(std::size_t number, Model model, void* context) {
    const std::lock_guard lock(given_mutex);
    given[number] = {model, context};
}

namespace tensorrt_llm::executor {

void SamplingConfig::setTopP(std::optional<FloatType> const& topP) {
    if (topP && (*topP <= 0 || *topP > 1))
        throw std::runtime_error("[TensorRT-LLM][ERROR] Assertion failed: topP should be in (0, 1]");
    top_p_ = topP;
}

Request::Request(VecTokens inputTokenIds, SizeType32 maxTokens, bool streaming)
    : tokens_(std::move(inputTokenIds)), max_tokens_(maxTokens), streaming_(streaming) {
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
        : script_(Script::read(directory)),
          engine_(stand_in::EngineConfig::read(directory)),
          config_(config),
          random_(script_.seed) {
        if (script_.devices > 0) engine_.check_node(script_.ranks, script_.devices);
        const auto parallel = config_.getParallelConfig();
        if (parallel && parallel->getCommunicationMode() == CommunicationMode::kORCHESTRATOR)
            orchestrate(directory, parallel->getOrchestratorConfig()->getWorkerExecutablePath());
        else
            take_part(directory);
        if (script_.echo) echo(directory);
        thread_ = std::thread([this] { follows() ? follow() : run(); });
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

    bool can_enqueue() const { return !shut_down_ && !follows(); }

  private:
    bool follows() const { return script_.follows || world_member() != nullptr; }

    const stand_in::Member* world_member() const {
        return world_ != nullptr && world_->member ? &*world_->member : nullptr;
    }

    // The others, for whom this process speaks: those that mpirun started, or spawned workers.
    const stand_in::Middle* others() const {
        if (workers_) return &*workers_;
        return world_ != nullptr && world_->middle ? &*world_->middle : nullptr;
    }

    void orchestrate(const std::filesystem::path& directory, const std::filesystem::path& worker) {
        if (!std::filesystem::exists(worker))
            throw std::runtime_error("[TensorRT-LLM][ERROR] the worker executable cannot be spawned");
        if (stand_in::Place::find().world != 1)
            throw std::runtime_error("[TensorRT-LLM][ERROR] Assertion failed: expect MPI worldSize to be 1");
        load(directory, 0);
        workers_.emplace(stand_in::spawn(worker, script_.ranks, directory));
    }

    // As one of the ranks that mpirun started: none goes on before all have loaded.
    void take_part(const std::filesystem::path& directory) {
        const stand_in::Place place = stand_in::Place::find();
        if (place.world != script_.ranks && !script_.follows)
            throw std::runtime_error(
                "[TensorRT-LLM][ERROR] Assertion failed: With communicationMode kLEADER, MPI worldSize is "
                "expected to be "
                "equal to tp*pp*cp when participantIds are not specified");
        if (place.world > 1) world_ = &stand_in::World::join();
        load(directory, place.rank);
        if (const stand_in::Member* member = world_member()) member->meet();
        if (const stand_in::Middle* middle = others()) middle->meet();
    }

    void load(const std::filesystem::path& directory, std::size_t rank) const {
        if (rank != script_.load_rank) return;
        if (!script_.load_error.empty()) throw std::runtime_error(script_.load_error);
        while (script_.load_gate && !std::filesystem::exists(directory / "gate"))
            std::this_thread::sleep_for(std::chrono::milliseconds(10));
    }

    // A worker rank computes its part until the leader ends it; without a leader, it waits forever.
    void follow() const {
        const stand_in::Member* member = world_member();
        if (member == nullptr) return;
        try {
            member->serve(script_, world_->place.rank, world_->place.world);
        } catch (const stand_in::RankLost&) {
            stand_in::hang();
        }
    }

    // A sequence that waits or is in flight.
    struct Sequence {
        IdType id;
        Request request;
        // Its prompt and what it has generated.
        VecTokens tokens;
        SizeType32 generated;
        // The logits of the step that runs, if several ranks compute them.
        std::vector<float> logits = {};
        // Blocks of its prompt that were found.
        SizeType32 reused = 0;
    };

    void check_running(const char* what) const {
        if (shut_down_)
            throw std::runtime_error(std::string("[TensorRT-LLM][ERROR] Shutdown called, ") + what);
        if (follows())
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
        if (orderly) end_others();
        lock.lock();
        stopped_ = true;
        responded_.notify_all();
    }

    void end_others() const {
        const stand_in::Middle* middle = others();
        if (middle == nullptr) return;
        try {
            middle->end();
        } catch (const stand_in::RankLost&) {
            stand_in::hang();
        }
    }

    // Has the other ranks compute what they hold of every sequence in flight. False if one is gone.
    bool compute_together() {
        const stand_in::Middle* middle = others();
        if (middle == nullptr) return true;
        std::vector<VecTokens> texts;
        for (const Sequence& sequence : active_) texts.push_back(sequence.tokens);
        try {
            std::vector<std::vector<float>> rows = middle->compute(script_, texts);
            for (std::size_t i = 0; i < rows.size(); ++i) active_[i].logits = std::move(rows[i]);
        } catch (const stand_in::RankLost&) {
            if (!script_.lost_rank_fails) stand_in::hang();
            return false;
        }
        return true;
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
        std::set<std::uint64_t> contributed;
        for (Sequence& sequence : active_) {
            if (!failed && is_held_back(sequence, contributed)) {
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
        computed_.merge(computing_);
        return answers;
    }

    bool top_k_only() const {
        const auto decoding = config_.getDecodingConfig();
        return decoding && decoding->getDecodingMode() && decoding->getDecodingMode()->samples_top_k_only();
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
        if (!compute_together()) return "NCCL error: a rank has gone";
        return {};
    }

    Response advance(Sequence& sequence) {
        const bool first = sequence.generated == 0;
        if (top_k_only() && sequence.request.getSamplingConfig().getTopP())
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
        if (first) sequence.reused = reuse(sequence.tokens);
        std::vector<float> logits = logits_after(sequence);
        if (reuses_wrongly(sequence)) std::fill(logits.begin(), logits.end(), 1e30f);
        generate(sequence, logits, result);
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

    // A hash of the tokens up to its end for each whole block of a prompt, its last token left out.
    std::vector<std::uint64_t> blocks_of(const VecTokens& prompt) const {
        std::vector<std::uint64_t> blocks;
        if (!config_.getKvCacheConfig().getEnableBlockReuse()) return blocks;
        std::uint64_t state = kSeed;
        for (std::size_t i = 0; i + 1 < prompt.size(); ++i) {
            state = mix(state ^ (static_cast<std::uint64_t>(prompt[i]) + 1));
            if ((i + 1) % script_.tokens_per_block == 0) blocks.push_back(state);
        }
        return blocks;
    }

    // Like the real library's capacity scheduler, which holds a sequence back while another computes the
    // first block that it does not find.
    bool is_held_back(const Sequence& sequence, std::set<std::uint64_t>& contributed) const {
        if (sequence.generated > 0) return false;
        for (const std::uint64_t block : blocks_of(sequence.tokens))
            if (!computed_.contains(block)) return !contributed.insert(block).second;
        return false;
    }

    // Blocks of a prompt that an earlier step computed. What is not found is computed in this one.
    SizeType32 reuse(const VecTokens& prompt) {
        SizeType32 reused = 0;
        for (const std::uint64_t block : blocks_of(prompt)) {
            if (computed_.contains(block))
                ++reused;
            else
                computing_.insert(block);
        }
        reused_ += reused;
        return reused;
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

    // The next token. An end id ends the sequence and is not among its tokens; a stop word is.
    void generate(Sequence& sequence, const std::vector<float>& logits, Result& result) const {
        const TokenIdType token =
            stand_in::choose(sequence.request, sequence.tokens, std::span(logits).first(script_.rows));
        ++sequence.generated;
        result.outputTokenIds = {{}};
        if (token == sequence.request.getEndId()) {
            result.isFinal = true;
            result.finishReasons = {FinishReason::kEND_ID};
            return;
        }
        sequence.tokens.push_back(token);
        if (!sequence.request.getOutputConfig().excludeInputFromOutput)
            result.outputTokenIds = {sequence.request.getInputTokenIds()};
        result.outputTokenIds.front().push_back(token);
        if (stops(sequence)) {
            result.isFinal = true;
            result.finishReasons = {FinishReason::kSTOP_WORDS};
        } else if (sequence.generated >= sequence.request.getMaxTokens()) {
            result.isFinal = true;
            result.finishReasons = {FinishReason::kLENGTH};
        }
    }

    static bool stops(const Sequence& sequence) {
        const auto words = sequence.request.getStopWords();
        return words && std::any_of(words->begin(), words->end(), [&](const VecTokens& word) {
                   return static_cast<std::size_t>(sequence.generated) >= word.size() &&
                          std::equal(word.rbegin(), word.rend(), sequence.tokens.rbegin());
               });
    }

    std::vector<float> logits_after(const Sequence& sequence) const {
        if (others() != nullptr) return sequence.logits;
        if (script_.callback == 0) return stand_in::logits_of(script_, sequence.tokens, 0, 1);
        std::vector<float> logits(script_.vocabulary, 0.0f);
        const std::lock_guard lock(given_mutex);
        const Given& model = given.at(script_.callback);
        model.model(model.context, sequence.tokens.data(), sequence.tokens.size(), logits.data(),
                    logits.size());
        return logits;
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
        stats.kvCacheStats->reusedBlocks = reused_;
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

    void echo(const std::filesystem::path& directory) const {
        const KvCacheConfig cache = config_.getKvCacheConfig();
        std::ofstream asked_for(directory / "asked-for");
        asked_for << "max_batch_size " << config_.getMaxBatchSize().value_or(0) << "\nmax_num_tokens "
                  << config_.getMaxNumTokens().value_or(0) << "\nmax_queue_size "
                  << config_.getMaxQueueSize().value_or(0) << "\nblock_reuse " << cache.getEnableBlockReuse()
                  << "\nchunked_context " << config_.getEnableChunkedContext() << "\nkv_cache_fraction "
                  << cache.getFreeGpuMemoryFraction().value_or(0) << "\nkv_cache_tokens "
                  << cache.getMaxTokens().value_or(0) << "\nhost_cache "
                  << cache.getHostCacheSize().value_or(0) << "\ntop_k_only " << top_k_only() << "\nwindows";
        for (const SizeType32 keys : cache.getMaxAttentionWindowVec().value_or(std::vector<SizeType32>{}))
            asked_for << " " << keys;
        asked_for << "\n";
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
    stand_in::World* world_ = nullptr;
    std::optional<stand_in::Middle> workers_;
    std::mutex mutex_;
    std::condition_variable queued_;
    std::condition_variable responded_;
    std::mt19937_64 random_;
    std::deque<Sequence> queue_;
    // Used by the library's own thread only, like the tokens that joined with the last step.
    std::vector<Sequence> active_;
    // Beginnings that are in the cache, by their hash, those that this step adds, and how often one was
    // found.
    std::set<std::uint64_t> computed_;
    std::set<std::uint64_t> computing_;
    SizeType32 reused_ = 0;
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
