#include "engine_config.h"

#include <fstream>
#include <regex>
#include <sstream>
#include <stdexcept>
#include <string>

namespace stand_in {
namespace {

// The first number of this name, wherever it is.
std::optional<std::size_t> number(const std::string& json, const std::string& name) {
    std::smatch found;
    if (!std::regex_search(json, found, std::regex("\"" + name + R"("\s*:\s*(\d+))"))) return std::nullopt;
    return std::stoul(found[1]);
}

std::size_t padded(std::size_t size, std::size_t parts) { return (size + parts - 1) / parts * parts; }

}  // namespace

EngineConfig EngineConfig::read(const std::filesystem::path& directory) {
    std::ifstream file(directory / "config.json");
    std::ostringstream text;
    text << file.rdbuf();
    const std::string json = text.str();
    EngineConfig config;
    config.vocab_size = number(json, "vocab_size");
    config.tensor_parallel = number(json, "tp_size").value_or(1);
    config.pipeline_parallel = number(json, "pp_size").value_or(1);
    config.gpus_per_node = number(json, "gpus_per_node").value_or(config.gpus_per_node);
    return config;
}

void EngineConfig::check_node(std::size_t world, std::size_t devices) const {
    const bool too_few = world < gpus_per_node ? devices < world : devices < gpus_per_node;
    if (too_few && devices != 1)
        throw std::runtime_error("[TensorRT-LLM][ERROR] Assertion failed: Detect " + std::to_string(devices) +
                                 " GPUs, the GPU number is incompatible with " +
                                 std::to_string(gpus_per_node) + " gpusPerNode when MPI size is " +
                                 std::to_string(world));
}

bool EngineConfig::logits_fit() const {
    if (!vocab_size) return true;
    return padded(*vocab_size, tensor_parallel) == padded(*vocab_size, tensor_parallel * pipeline_parallel);
}

}  // namespace stand_in
