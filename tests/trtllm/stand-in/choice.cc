#include "choice.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <map>
#include <numeric>
#include <stdexcept>

#include "logits.h"

namespace stand_in {
namespace {

namespace tle = tensorrt_llm::executor;

// More are left out.
constexpr std::size_t kMostCandidates = 1024;

void add_bias(const tle::Request& request, std::span<float> logits) {
    const auto bias = request.getEmbeddingBias();
    if (!bias) return;
    if (bias->getSize() != logits.size())
        throw std::runtime_error("The embedding bias shape is not as expected.");
    const auto* values = static_cast<const float*>(bias->getData());
    for (std::size_t token = 0; token < logits.size(); ++token) logits[token] += values[token];
}

// Repetition counts the prompt too; presence and frequency what is not to be ignored of it.
void penalize(const tle::Request& request, std::span<const tle::TokenIdType> tokens,
              std::span<float> logits) {
    const tle::SamplingConfig sampling = request.getSamplingConfig();
    const auto ignored = static_cast<std::size_t>(sampling.getPromptIgnoreLength().value_or(0));
    const float repetition = sampling.getRepetitionPenalty().value_or(1);
    const float presence = sampling.getPresencePenalty().value_or(0);
    const float frequency = sampling.getFrequencyPenalty().value_or(0);
    std::map<tle::TokenIdType, std::pair<std::size_t, std::size_t>> counts;
    for (std::size_t place = 0; place < tokens.size(); ++place) {
        auto& [all, counted] = counts[tokens[place]];
        ++all;
        if (place >= ignored) ++counted;
    }
    for (const auto& [token, count] : counts) {
        if (static_cast<std::size_t>(token) >= logits.size()) continue;
        float& logit = logits[static_cast<std::size_t>(token)];
        logit = logit < 0 ? logit * repetition : logit / repetition;
        if (count.second > 0) logit -= presence + frequency * static_cast<float>(count.second);
    }
}

// A token by its probability, which the seed and the place decide, of those that the limits leave in.
std::size_t draw(const tle::SamplingConfig& sampling, std::size_t place, std::span<const float> logits) {
    std::vector<std::size_t> order(logits.size());
    std::iota(order.begin(), order.end(), std::size_t{0});
    std::stable_sort(order.begin(), order.end(),
                     [&](std::size_t a, std::size_t b) { return logits[a] > logits[b]; });
    if (const auto top_k = static_cast<std::size_t>(sampling.getTopK().value_or(0)); top_k > 0)
        order.resize(std::min({order.size(), top_k, kMostCandidates}));
    std::vector<double> shares;
    for (const std::size_t token : order)
        shares.push_back(std::exp(static_cast<double>(logits[token] - logits[order.front()])));
    double total = std::accumulate(shares.begin(), shares.end(), 0.0);
    double left = total * static_cast<double>(sampling.getTopP().value_or(1));
    std::size_t count = 0;
    while (count < shares.size() && left > 0 && shares[count] >= sampling.getMinP().value_or(0))
        left -= shares[count++];
    count = std::max<std::size_t>(count, 1);
    total = std::accumulate(shares.begin(), shares.begin() + static_cast<std::ptrdiff_t>(count), 0.0);
    const double uniform =
        static_cast<double>(mix(sampling.getSeed().value_or(0) + mix(place)) >> 11) * 0x1p-53;
    double rest = uniform * total;
    for (std::size_t candidate = 0; candidate < count; ++candidate)
        if ((rest -= shares[candidate]) < 0) return order[candidate];
    return order.front();
}

}  // namespace

tle::TokenIdType choose(const tle::Request& request, std::span<const tle::TokenIdType> tokens,
                        std::span<const float> logits) {
    const tle::SamplingConfig sampling = request.getSamplingConfig();
    std::vector<float> changed(logits.begin(), logits.end());
    add_bias(request, changed);
    for (float& logit : changed) logit /= sampling.getTemperature().value_or(1);
    penalize(request, tokens, changed);
    const std::size_t generated = tokens.size() - request.getInputTokenIds().size();
    if (generated < static_cast<std::size_t>(sampling.getMinTokens().value_or(0)))
        changed.at(static_cast<std::size_t>(request.getEndId().value_or(-1))) =
            std::numeric_limits<float>::lowest();
    if (sampling.getTopK() == 1)
        return static_cast<tle::TokenIdType>(std::max_element(changed.begin(), changed.end()) -
                                             changed.begin());
    return static_cast<tle::TokenIdType>(draw(sampling, generated, changed));
}

}  // namespace stand_in
