// A sequence that waits or is in flight.
#pragma once

#include <span>
#include <vector>

#include "tensorrt_llm/executor/executor.h"

namespace stand_in {

struct Sequence {
    tensorrt_llm::executor::IdType id;
    tensorrt_llm::executor::Request request;
    // Its prompt and what it has generated.
    tensorrt_llm::executor::VecTokens tokens;
    tensorrt_llm::executor::SizeType32 generated;
    // The logits of the step that runs, if several ranks compute them.
    std::vector<float> logits = {};
    // Blocks of its prompt that were found.
    tensorrt_llm::executor::SizeType32 reused = 0;
};

// Adds the next token to the sequence and the result. An end id ends the sequence and is not among its
// tokens; a stop word is.
void generate(Sequence& sequence, std::span<const float> logits, tensorrt_llm::executor::Result& result);

}  // namespace stand_in
