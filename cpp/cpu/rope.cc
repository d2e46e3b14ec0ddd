#include "rope.h"

#include <cmath>

namespace assay::cpu {
namespace {

// NTK scaling raises the base until the lowest frequency is divided by how much longer the text is.
std::vector<float> ntk_frequencies(const Rope& rope, std::size_t text_tokens) {
    const std::size_t pairs = rope.inverse_frequencies.size();
    const double dim = 2.0 * static_cast<double>(pairs);
    const double longer = static_cast<double>(text_tokens) / static_cast<double>(rope.usual_tokens);
    const double stretch = rope.ntk_factor * longer - (rope.ntk_factor - 1.0);
    const double theta = rope.ntk_theta * std::pow(stretch, dim / (dim - 2.0));
    std::vector<float> frequencies(pairs);
    for (std::size_t i = 0; i < pairs; ++i)
        frequencies[i] = static_cast<float>(std::pow(theta, -2.0 * static_cast<double>(i) / dim));
    return frequencies;
}

}  // namespace

void ChunkFrequencies::find(const Rope& rope, std::span<const Chunk> chunks) {
    by_chunk_.clear();
    own_.clear();
    for (const Chunk& chunk : chunks) {
        if (rope.usual_tokens == 0 || chunk.text_tokens <= rope.usual_tokens) {
            by_chunk_.push_back(rope.inverse_frequencies.data());
        } else if (!rope.long_inverse_frequencies.empty()) {
            by_chunk_.push_back(rope.long_inverse_frequencies.data());
        } else {
            own_.push_back(ntk_frequencies(rope, chunk.text_tokens));
            by_chunk_.push_back(own_.back().data());
        }
    }
}

}  // namespace assay::cpu
