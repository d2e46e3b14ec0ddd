// What the library takes from an engine's config.json, and what it makes of it.
#pragma once

#include <cstddef>
#include <filesystem>
#include <optional>

namespace stand_in {

struct EngineConfig {
    // Absent in engines that a test wrote without them.
    std::optional<std::size_t> vocab_size;
    std::size_t tensor_parallel = 1;
    std::size_t pipeline_parallel = 1;
    std::size_t gpus_per_node = 8;

    static EngineConfig read(const std::filesystem::path& directory);

    // Throws what the library does if a node with `devices` GPUs does not suit `world` ranks.
    void check_node(std::size_t world, std::size_t devices) const;

    // Whether the engine's logits, padded for the ranks of a stage, are as wide as the runtime's, padded for
    // all.
    bool logits_fit() const;
};

}  // namespace stand_in
