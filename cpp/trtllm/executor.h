// A TensorRT-LLM engine: whole sequences in, what becomes of each out. Knows nothing of Rust.
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <mutex>
#include <optional>
#include <span>
#include <stdexcept>
#include <string>
#include <unordered_map>
#include <vector>

namespace tensorrt_llm::executor {
class Executor;
class Response;
}  // namespace tensorrt_llm::executor

namespace assay::trtllm {

// The engine cannot be used, or has stopped: nothing more will come of it.
class EngineError : public std::runtime_error {
  public:
    using std::runtime_error::runtime_error;
};

// How the ranks of an engine for several GPUs come about.
enum class Processes {
    LEADER,        // mpirun started one of us for each rank; rank 0 leads.
    ORCHESTRATOR,  // The library spawns a worker for each rank; one machine only.
};

struct Config {
    std::filesystem::path directory;
    // Rows of the head, the first of a row of logits; of an engine that generates the vocabulary's.
    std::size_t head_rows;
    std::size_t max_batch_size;
    std::size_t max_num_tokens;
    // Requests that wait within the library; more are refused.
    std::size_t max_queue_size;
    // Tokens of the KV cache; unless given, as many as fit the fraction of free GPU memory.
    std::optional<std::size_t> kv_cache_tokens;
    float kv_cache_fraction;
    // Host memory for KV blocks that no longer fit the GPU's, in bytes.
    std::size_t kv_cache_host_bytes;
    bool block_reuse;
    bool chunked_context;
    // Longest that the library works on a sequence, its own queue included; unless given, for ever.
    std::optional<std::chrono::milliseconds> allotted;
    // Tensor-parallel times pipeline-parallel ranks.
    std::size_t ranks;
    Processes processes;
    // The library's executorWorker; for ORCHESTRATOR.
    std::filesystem::path worker;
};

// How tokens are chosen. The defaults change nothing but the temperature's: 0 takes the likeliest token.
struct Sampling {
    float temperature = 0;
    std::size_t top_k = 0;  // 0: all
    float top_p = 1;
    float min_p = 0;
    float repetition_penalty = 1;
    float presence_penalty = 0;
    float frequency_penalty = 0;
    std::uint64_t seed = 0;
    std::size_t min_tokens = 0;
};

// What is added to a token's logit before anything else.
struct Bias {
    std::uint32_t token;
    float bias;
};

// What to run. A sequence that is scored generates one token, which nobody reads.
struct Sequence {
    // The caller's name for it; no other in flight has it.
    std::uint64_t id;
    std::span<const std::uint32_t> tokens;
    // Tokens to generate; 0: score.
    std::size_t max_tokens;
    // Token ids each of which ends it.
    std::span<const std::uint32_t> stop;
    Sampling sampling;
    std::vector<Bias> bias;
    // Whether each token comes with the logits that it was chosen of, unchanged by bias and sampling.
    bool logits;
    // From 0 to 1; the higher goes first.
    float priority;
};

enum class Ending {
    NONE,      // More is to come.
    COMPLETE,  // It was scored, or has all the tokens it may have.
    STOPPED,   // By a token of Sequence::stop, which is the last of its tokens.
    CANCELLED,
    TIMED_OUT,
    FAILED,
};

// What became of a sequence since the last answer. Only one with NONE, COMPLETE or STOPPED has tokens or
// logits, only one that FAILED an error.
struct Answer {
    std::uint64_t id;
    Ending ending;
    bool scored;
    std::vector<std::uint32_t> tokens;
    std::vector<float> logits;  // [head_rows]; of generated tokens, if asked for, [tokens, head_rows]
    std::string error;          // the library's own words
    // Of the prompt, KV blocks that were found and not computed again; told with the last answer.
    std::size_t reused_blocks = 0;
};

// Sums over the iterations since they were last asked for; of sequences and the KV cache, how it is now.
struct Statistics {
    std::size_t iterations;
    std::size_t context_tokens;
    std::size_t generated_tokens;
    double milliseconds;
    std::size_t scheduled;
    std::size_t queued;
    std::size_t kv_blocks;
    std::size_t kv_blocks_free;
    std::size_t kv_blocks_reused;
    std::size_t tokens_per_block;
};

// Ends the process without what is to run at its end: MPI's part of that waits for every other rank.
[[noreturn]] void leave(int status);

// One thread may submit and cancel while another awaits. Everything but the destructor may throw
// std::exception, with the library's own words.
class Executor {
  public:
    // Loads the engine, which takes minutes for a large one.
    explicit Executor(const Config& config);
    ~Executor();

    // Whether this process takes sequences. One that does not is a rank that others drive; it calls `follow`.
    bool leads() const;

    // Takes part in the engine until its leader shuts it down.
    void follow();

    // Hands sequences over, all of them or, if it throws, none.
    void enqueue(std::span<const Sequence> sequences);

    // Waits for answers, for no longer than `timeout`: each sequence that was taken has exactly one whose
    // ending is not NONE. Throws EngineError once the engine has stopped; what is in flight has none then.
    std::vector<Answer> await(std::chrono::milliseconds timeout);

    // Asks for a sequence to end early. It is answered all the same, perhaps as COMPLETE.
    void cancel(std::uint64_t sequence);
    void cancel_all();

    std::size_t in_flight() const;

    Statistics statistics();

    // Ends the engine and, where it leads, the other ranks. Nobody may be in `await` any more.
    void shutdown();

  private:
    std::optional<Answer> answer_for(const tensorrt_llm::executor::Response& response);
    // Ends a request whose sequence has had its last answer.
    void abandon(std::uint64_t request, std::uint64_t sequence);

    const std::size_t head_rows_;
    const std::optional<std::chrono::milliseconds> allotted_;
    // As the library last said, which counts from its start.
    std::size_t reused_ = 0;
    std::unique_ptr<tensorrt_llm::executor::Executor> executor_;

    // A sequence in flight, by the library's id for it and by the caller's.
    struct InFlight {
        std::uint64_t sequence;
        bool scored;
        bool logits;
        std::optional<std::uint32_t> end_id;
    };
    mutable std::mutex mutex_;
    std::unordered_map<std::uint64_t, InFlight> by_request_;
    std::unordered_map<std::uint64_t, std::uint64_t> by_sequence_;
};

}  // namespace assay::trtllm
