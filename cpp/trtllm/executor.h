// A TensorRT-LLM engine: takes whole sequences and answers each. Independent of Rust.
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <mutex>
#include <optional>
#include <span>
#include <string>
#include <unordered_map>
#include <vector>

#include "engine.h"

namespace tensorrt_llm::executor {
class Executor;
class Response;
}  // namespace tensorrt_llm::executor

namespace assay::trtllm {

// Who starts the ranks of an engine for several GPUs.
enum class Processes {
    Leader,        // mpirun started this program once for each rank; rank 0 leads.
    Orchestrator,  // The library spawns a worker for each rank, on this machine only.
};

struct Config {
    std::filesystem::path directory;
    // Rows of the head's first layers, or of the vocabulary if the engine generates: the first logits of a
    // row.
    std::size_t head_rows;
    std::size_t max_batch_size;
    std::size_t max_num_tokens;
    // Requests that may wait in the library; more are refused.
    std::size_t max_queue_size;
    // Tokens of the KV cache; by default as many as fit the fraction of free GPU memory.
    std::optional<std::size_t> kv_cache_tokens;
    float kv_cache_fraction;
    // Host memory in bytes for KV blocks that no longer fit in the GPU's.
    std::size_t kv_cache_host_bytes;
    bool block_reuse;
    bool chunked_context;
    // Whether sequences generate; if not, every one is scored.
    bool generates;
    // For each layer, the keys that a query sees, its own included; empty if no window is shorter than the
    // longest sequence.
    std::vector<std::size_t> attention_windows;
    // Tensor-parallel times pipeline-parallel ranks.
    std::size_t ranks;
    Processes processes;
    // The library's executorWorker, for Orchestrator.
    std::filesystem::path worker;
};

// How tokens are chosen. The defaults take the likeliest token of the unchanged logits.
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

// A sequence to run. One that is scored generates a single token, which is ignored.
struct Sequence {
    // Chosen by the caller; unique among those in flight.
    std::uint64_t id;
    std::span<const std::uint32_t> tokens;
    // Tokens to generate; 0: score.
    std::size_t max_tokens;
    // Token ids that end generation.
    std::span<const std::uint32_t> stop;
    Sampling sampling;
    std::vector<Bias> bias;
    // Whether each token comes with its logits, before bias and sampling.
    bool logits;
    // From 0 to 1; higher values run first.
    float priority;
};

enum class Ending {
    None,      // More answers follow.
    Complete,  // It was scored, or has max_tokens tokens.
    Stopped,   // A token of Sequence::stop ended it and is the last of its tokens.
    Cancelled,
    TimedOut,
    Failed,
};

// What became of a sequence since its last answer. Only None, Complete and Stopped come with tokens or
// logits, only Failed with an error.
struct Answer {
    std::uint64_t id;
    Ending ending;
    bool scored;
    std::vector<std::uint32_t> tokens;
    std::vector<float> logits;  // [head_rows]; of generated tokens, if asked for, [tokens, head_rows]
    std::string error;          // the library's own words
    // KV blocks of the prompt that were in the cache; in the last answer.
    std::size_t reused_blocks = 0;
};

// Sums over the iterations since the last call; `scheduled` and the KV cache's block counts are current
// values.
struct Statistics {
    std::size_t iterations;
    std::size_t context_tokens;
    std::size_t generated_tokens;
    double milliseconds;
    std::size_t scheduled;
    std::size_t kv_blocks;
    std::size_t kv_blocks_free;
    std::size_t kv_blocks_reused;
    std::size_t tokens_per_block;
};

// One thread may enqueue and cancel while another awaits. Everything but the destructor may throw
// std::exception with the library's own message.
class Executor {
  public:
    // Loads the engine, which takes minutes for a large one.
    explicit Executor(const Config& config);
    ~Executor();

    // Whether this process takes sequences. One that does not is a worker rank and calls `run_worker`.
    bool is_leader() const;

    // Serves as a worker rank until the leader shuts the engine down.
    void run_worker();

    // Hands over all sequences or, if it throws, none.
    void enqueue(std::span<const Sequence> sequences);

    // Waits up to `timeout` for answers. Each sequence gets exactly one whose ending is not None, unless the
    // engine stops: then this throws EngineError and sequences in flight get no answer.
    std::vector<Answer> await(std::chrono::milliseconds timeout);

    // Asks for a sequence to end early. It is still answered, perhaps as Complete.
    void cancel(std::uint64_t sequence);
    void cancel_all();

    std::size_t in_flight() const;

    Statistics statistics();

    // Ends the engine and, on the leader, the other ranks. No thread may be in `await`.
    void shutdown();

  private:
    std::optional<Answer> answer_for(const tensorrt_llm::executor::Response& response);
    // Cancels a request whose sequence has had its last answer.
    void abandon(std::uint64_t request, std::uint64_t sequence);

    const std::size_t head_rows_;
    // Reused blocks as last reported: the library counts from its start.
    std::size_t reused_ = 0;
    std::unique_ptr<tensorrt_llm::executor::Executor> executor_;

    // Sequences in flight. A request is what the library calls one; it chooses the request's id.
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
