// Rotary position embeddings.
#pragma once

#include <cstddef>
#include <span>
#include <vector>

#include "engine.h"

namespace assay::cpu {

// Rotary inverse frequencies, one for each rotated pair, and a factor on cosine and sine.
struct Rope {
    std::vector<float> inverse_frequencies;
    float factor;
    // Texts of more tokens have other frequencies. 0: none have.
    std::size_t usual_tokens = 0;
    // Those of longer texts. Empty: those of NTK scaling, which depend on the length of the text.
    std::vector<float> long_inverse_frequencies = {};
    double ntk_theta = 0;
    double ntk_factor = 0;
};

// The frequencies of each chunk of an iteration, as the length of its text decides.
class ChunkFrequencies {
  public:
    void find(const Rope& rope, std::span<const Chunk> chunks);

    const float* of(std::size_t chunk) const { return by_chunk_[chunk]; }

  private:
    std::vector<const float*> by_chunk_;
    // Those that are computed for one text.
    std::vector<std::vector<float>> own_;
};

}  // namespace assay::cpu
