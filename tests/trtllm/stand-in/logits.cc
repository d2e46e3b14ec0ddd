#include "logits.h"

#include <algorithm>

namespace stand_in {

std::uint64_t mix(std::uint64_t value) {
    value += kSeed;
    value = (value ^ (value >> 30)) * 0xbf58476d1ce4e5b9;
    value = (value ^ (value >> 27)) * 0x94d049bb133111eb;
    return value ^ (value >> 31);
}

std::vector<float> logits_of(const Script& script, const Tokens& tokens, std::size_t part,
                             std::size_t parts) {
    std::vector<float> logits(script.vocabulary, 0.0f);
    std::uint64_t state = kSeed;
    for (const std::int32_t token : tokens) state = mix(state ^ (static_cast<std::uint64_t>(token) + 1));
    const std::size_t rows = script.logits.empty() ? script.rows : script.logits.size();
    for (std::size_t row = part; row < std::min(rows, logits.size()); row += parts)
        logits[row] = script.logits.empty() ? static_cast<float>(mix(state + row) >> 48) / 8192.0f - 4.0f
                                            : script.logits[row];
    return logits;
}

}  // namespace stand_in
