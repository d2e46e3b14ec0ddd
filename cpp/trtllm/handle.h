// The thin layer that Rust sees of TensorRT-LLM; `cpp/bridge.h` is that of the rest.
#pragma once

#include <memory>

#include "bridge.h"
#include "trtllm/executor.h"

namespace assay::bridge {

struct TrtllmAnswer;
struct TrtllmConfig;
struct TrtllmSequence;
struct TrtllmStatistics;

// An Executor behind types that cxx can pass. As safe to share between threads as that is.
class TrtllmHandle {
  public:
    explicit TrtllmHandle(const trtllm::Config& config) : executor_(config) {}

    bool leads() const { return executor_.leads(); }
    void follow() const { executor_.follow(); }
    void enqueue(rust::Slice<const TrtllmSequence> sequences,
                 rust::Slice<const std::uint32_t> token_ids) const;
    rust::Vec<TrtllmAnswer> await_answers(std::uint64_t timeout_ms) const;
    void cancel(std::uint64_t sequence) const { executor_.cancel(sequence); }
    void cancel_all() const { executor_.cancel_all(); }
    std::size_t in_flight() const { return executor_.in_flight(); }
    TrtllmStatistics statistics() const;
    void shutdown() const { executor_.shutdown(); }

  private:
    // Its methods lock for themselves, which is what const means on this side of the bridge.
    mutable trtllm::Executor executor_;
};

inline void leave(std::int32_t status) { trtllm::leave(status); }
std::shared_ptr<TrtllmHandle> open_trtllm(const TrtllmConfig& config);

}  // namespace assay::bridge
