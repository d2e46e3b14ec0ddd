// The decoder of every model family, put together from named parts: the residual stream, attention, the
// feed-forward network and the head. A family that computes something else adds or replaces a part.
#pragma once

#include <memory>

#include "config.h"
#include "engine.h"
#include "weights.h"

namespace assay::cpu {

// A decoder on `weights`, whose memory must outlive it. Throws EngineError if the processor, the sizes or the
// weights do not allow it.
std::unique_ptr<Engine> make_decoder(const ModelConfig& config, const RunLimits& limits,
                                     const Weights& weights);

}  // namespace assay::cpu
