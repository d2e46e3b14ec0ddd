// Which CPUs each of OpenMP's threads runs on.
#pragma once

#include <sched.h>

#include <cstddef>
#include <span>
#include <vector>

namespace assay::cpu {

// Binds the threads of a team, each to CPUs of its own. Otherwise Linux may leave two of them on one CPU for
// tens of milliseconds, while a thread that nobody waits for has another one, and the whole team waits for
// both.
class ThreadPlaces {
  public:
    // Leaves threads where the system puts them.
    ThreadPlaces() = default;
    // The CPUs of each thread. Takes none if one of them has a number that Linux's fixed sets do not have.
    explicit ThreadPlaces(std::span<const std::vector<std::size_t>> cpus_of_threads);

    // Binds this thread and the team that it leads. OpenMP may replace threads at any time, and new ones
    // start on the CPUs of the one that leads, so this belongs before each piece of work; it then costs a
    // barrier.
    void bind() const;

  private:
    std::vector<cpu_set_t> places_;
};

}  // namespace assay::cpu
