// Binds OpenMP's threads to CPUs.

#include "cpu/thread_places.h"

#include <omp.h>

#include "check.h"

using assay::cpu::ThreadPlaces;

namespace {

std::vector<std::size_t> allowed() {
    cpu_set_t set;
    CPU_ZERO(&set);
    sched_getaffinity(0, sizeof(set), &set);
    std::vector<std::size_t> cpus;
    for (std::size_t cpu = 0; cpu < CPU_SETSIZE; ++cpu)
        if (CPU_ISSET(cpu, &set)) cpus.push_back(cpu);
    return cpus;
}

// The CPUs of each thread of a team.
std::vector<std::vector<std::size_t>> cpus_of_team(std::size_t threads) {
    std::vector<std::vector<std::size_t>> cpus(threads);
#pragma omp parallel num_threads(static_cast <int>(threads))
    cpus[static_cast<std::size_t>(omp_get_thread_num())] = allowed();
    return cpus;
}

void each_thread_has_its_place_and_so_have_those_that_replace_it() {
    const std::vector<std::size_t> all = allowed();
    std::vector<std::vector<std::size_t>> places;
    for (const std::size_t cpu : all) places.push_back({cpu});
    const ThreadPlaces bound(places);
    bound.bind();
    CHECK(cpus_of_team(all.size()) == places);
    // A smaller team ends threads, and a larger one starts new ones, on the CPU of the thread that leads it.
    cpus_of_team(1);
    bound.bind();
    CHECK(cpus_of_team(all.size()) == places);
}

void no_places_change_nothing() {
    const std::vector<std::vector<std::size_t>> before = cpus_of_team(2);
    ThreadPlaces().bind();
    ThreadPlaces(std::vector<std::vector<std::size_t>>{{0}, {CPU_SETSIZE}}).bind();
    CHECK(cpus_of_team(2) == before);
}

}  // namespace

int main() {
    no_places_change_nothing();
    each_thread_has_its_place_and_so_have_those_that_replace_it();
}
