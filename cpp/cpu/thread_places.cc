#include "thread_places.h"

#include <omp.h>

#include <algorithm>

namespace assay::cpu {

ThreadPlaces::ThreadPlaces(std::span<const std::vector<std::size_t>> cpus_of_threads) {
    for (const std::vector<std::size_t>& cpus : cpus_of_threads) {
        cpu_set_t& place = places_.emplace_back();
        CPU_ZERO(&place);
        for (const std::size_t cpu : cpus) {
            if (cpu >= CPU_SETSIZE) {
                places_.clear();
                return;
            }
            CPU_SET(cpu, &place);
        }
    }
}

void ThreadPlaces::bind() const {
    if (places_.empty()) return;
#pragma omp parallel num_threads(static_cast <int>(places_.size()))
    {
        // Where this thread was bound to last, by whichever team.
        thread_local cpu_set_t bound = {};
        const cpu_set_t& place = places_[static_cast<std::size_t>(omp_get_thread_num())];
        if (!CPU_EQUAL(&bound, &place)) {
            // Where the system refuses, the engine is only slower.
            sched_setaffinity(0, sizeof(place), &place);
            bound = place;
        }
    }
}

}  // namespace assay::cpu
