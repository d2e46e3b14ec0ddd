// The ranks of an engine, as this process sees them: it leads the others, is led, or is alone.
#pragma once

#include <filesystem>
#include <optional>
#include <vector>

#include "ranks.h"
#include "script.h"
#include "sequence.h"
#include "tensorrt_llm/executor/executor.h"

namespace stand_in {

class Group {
  public:
    // Loads the engine, with the ranks that mpirun started or with workers that it spawns itself. Returns
    // once all have loaded.
    Group(const Script& script, const std::filesystem::path& directory,
          const tensorrt_llm::executor::ExecutorConfig& config);

    // Whether this process is a rank that another leads.
    bool follows() const { return script_.follows || world_member() != nullptr; }

    // Whether this process leads others.
    bool has_others() const { return others() != nullptr; }

    // A worker rank computes its part until the leader ends it. Returns at once without a leader.
    void follow() const;

    // Has the other ranks compute what they hold of every sequence. False if one is gone.
    bool compute(std::vector<Sequence>& sequences) const;

    void end_others() const;

  private:
    const Member* world_member() const {
        return world_ != nullptr && world_->member ? &*world_->member : nullptr;
    }

    // The others, for whom this process speaks: those that mpirun started, or spawned workers.
    const Middle* others() const {
        if (workers_) return &*workers_;
        return world_ != nullptr && world_->middle ? &*world_->middle : nullptr;
    }

    void orchestrate(const std::filesystem::path& directory, const std::filesystem::path& worker);
    void take_part(const std::filesystem::path& directory);
    void load(const std::filesystem::path& directory, std::size_t rank) const;

    const Script& script_;
    World* world_ = nullptr;
    std::optional<Middle> workers_;
};

}  // namespace stand_in
