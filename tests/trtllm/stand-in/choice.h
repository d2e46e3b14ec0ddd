// How TensorRT-LLM chooses a token, as its kernels are published: written anew, and slow.
#pragma once

#include <span>

#include "tensorrt_llm/executor/executor.h"

namespace stand_in {

// The next token of a request, of raw logits; `tokens` are its prompt and what it has generated so far.
// Throws where its bias is not of the vocabulary's size.
tensorrt_llm::executor::TokenIdType choose(const tensorrt_llm::executor::Request& request,
                                           std::span<const tensorrt_llm::executor::TokenIdType> tokens,
                                           std::span<const float> logits);

}  // namespace stand_in
