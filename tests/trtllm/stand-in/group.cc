#include "group.h"

#include <chrono>
#include <stdexcept>
#include <thread>

namespace stand_in {

using tensorrt_llm::executor::CommunicationMode;

Group::Group(const Script& script, const std::filesystem::path& directory,
             const tensorrt_llm::executor::ExecutorConfig& config)
    : script_(script) {
    const auto parallel = config.getParallelConfig();
    if (parallel && parallel->getCommunicationMode() == CommunicationMode::kORCHESTRATOR)
        orchestrate(directory, parallel->getOrchestratorConfig()->getWorkerExecutablePath());
    else
        take_part(directory);
}

void Group::orchestrate(const std::filesystem::path& directory, const std::filesystem::path& worker) {
    if (!std::filesystem::exists(worker))
        throw std::runtime_error("[TensorRT-LLM][ERROR] the worker executable cannot be spawned");
    if (Place::find().world != 1)
        throw std::runtime_error("[TensorRT-LLM][ERROR] Assertion failed: expect MPI worldSize to be 1");
    load(directory, 0);
    workers_.emplace(spawn(worker, script_.ranks, directory));
}

// As one of the ranks that mpirun started: none goes on before all have loaded.
void Group::take_part(const std::filesystem::path& directory) {
    const Place place = Place::find();
    if (place.world != script_.ranks && !script_.follows)
        throw std::runtime_error(
            "[TensorRT-LLM][ERROR] Assertion failed: With communicationMode kLEADER, MPI worldSize is "
            "expected to be equal to tp*pp*cp when participantIds are not specified");
    if (place.world > 1) world_ = &World::join();
    load(directory, place.rank);
    if (const Member* member = world_member()) member->meet();
    if (const Middle* middle = others()) middle->meet();
}

void Group::load(const std::filesystem::path& directory, std::size_t rank) const {
    if (rank != script_.load_rank) return;
    if (!script_.load_error.empty()) throw std::runtime_error(script_.load_error);
    while (script_.load_gate && !std::filesystem::exists(directory / "gate"))
        std::this_thread::sleep_for(std::chrono::milliseconds(10));
}

void Group::follow() const {
    const Member* member = world_member();
    if (member == nullptr) return;
    try {
        member->serve(script_, world_->place.rank, world_->place.world);
    } catch (const RankLost&) {
        hang();
    }
}

bool Group::compute(std::vector<Sequence>& sequences) const {
    const Middle* middle = others();
    if (middle == nullptr) return true;
    std::vector<Tokens> texts;
    for (const Sequence& sequence : sequences) texts.push_back(sequence.tokens);
    try {
        std::vector<std::vector<float>> rows = middle->compute(script_, texts);
        for (std::size_t i = 0; i < rows.size(); ++i) sequences[i].logits = std::move(rows[i]);
    } catch (const RankLost&) {
        if (!script_.lost_rank_fails) hang();
        return false;
    }
    return true;
}

void Group::end_others() const {
    const Middle* middle = others();
    if (middle == nullptr) return;
    try {
        middle->end();
    } catch (const RankLost&) {
        hang();
    }
}

}  // namespace stand_in
