// What a text is answered with.
#pragma once

#include <cstdint>
#include <vector>

#include "script.h"

namespace stand_in {

using Tokens = std::vector<std::int32_t>;

constexpr std::uint64_t kSeed = 0x9e3779b97f4a7c15;

// The finaliser of SplitMix64, as in src/engine/simulated.rs: both give one text the same logits.
std::uint64_t mix(std::uint64_t value);

// A row of logits after `tokens`, [vocabulary]: of the rows that `parts` ranks share out, as a
// tensor-parallel head is, those of rank `part`. The others are 0.
std::vector<float> logits_of(const Script& script, const Tokens& tokens, std::size_t part, std::size_t parts);

}  // namespace stand_in
