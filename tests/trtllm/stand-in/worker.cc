// Stands in for the library's executorWorker: a rank that an orchestrator spawned, and that ends with it.

#include <cstdio>

#include "ranks.h"

int main() {
    const stand_in::Place place = stand_in::Place::find();
    if (place.job.empty()) {
        std::fputs("executorWorker: an orchestrator spawns it\n", stderr);
        return 1;
    }
    try {
        const stand_in::Member member(place);
        const stand_in::Message engine = member.receive();
        const auto script = stand_in::Script::read(std::string(engine.begin(), engine.end()));
        member.meet();
        member.serve(script, place.rank, place.world);
    } catch (const std::exception& error) {
        std::fprintf(stderr, "executorWorker: %s\n", error.what());
        return 1;
    }
    return 0;
}
