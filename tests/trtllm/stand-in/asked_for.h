// What the executor was asked for.
#pragma once

#include <filesystem>

#include "tensorrt_llm/executor/executor.h"

namespace stand_in {

// Whether every request is decoded by top-k alone.
bool is_top_k_only(const tensorrt_llm::executor::ExecutorConfig& config);

// Writes the configuration to `asked-for` of the engine directory, for a test to read.
void write_asked_for(const tensorrt_llm::executor::ExecutorConfig& config,
                     const std::filesystem::path& directory);

}  // namespace stand_in
