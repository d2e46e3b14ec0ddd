// Encoders with a head that scores: BERT and its descendants. They share their parts with the decoder.
#pragma once

#include <memory>

#include "config.h"
#include "engine.h"
#include "weights.h"

namespace assay::cpu {

// An encoder on `weights`, whose memory must outlive it. Each chunk is a whole text, and its blocks are room
// for the keys and values of one layer: nothing stays in them. Throws EngineError if the processor, the sizes
// or the weights do not allow it.
std::unique_ptr<Engine> make_encoder(const ModelConfig& config, const RunLimits& limits,
                                     const Weights& weights);

}  // namespace assay::cpu
