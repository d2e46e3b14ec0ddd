// TensorRT-LLM as Rust sees it.
#pragma once

#include <memory>

#include "rust_bridge.h"
#include "trtllm/executor.h"

namespace assay::bridge {

struct TrtllmAnswer;
struct TrtllmConfig;
struct TrtllmSequence;
struct TrtllmStatistics;

// An Executor with types that cxx can pass. As safe to share between threads as that one.
class TrtllmExecutor {
  public:
    explicit TrtllmExecutor(const trtllm::Config& config) : executor_(config) {}

    bool is_leader() const { return executor_.is_leader(); }
    void run_worker() const { executor_.run_worker(); }
    void enqueue(rust::Slice<const TrtllmSequence> sequences,
                 rust::Slice<const std::uint32_t> token_ids) const;
    rust::Vec<TrtllmAnswer> await_answers(std::uint64_t timeout_ms) const;
    void cancel(std::uint64_t sequence) const { executor_.cancel(sequence); }
    void cancel_all() const { executor_.cancel_all(); }
    std::size_t in_flight() const { return executor_.in_flight(); }
    TrtllmStatistics statistics() const;
    void shutdown() const { executor_.shutdown(); }

  private:
    // Locks for itself; to cxx, const means that a method may be called from several threads.
    mutable trtllm::Executor executor_;
};

std::shared_ptr<TrtllmExecutor> open_trtllm(const TrtllmConfig& config);

}  // namespace assay::bridge
