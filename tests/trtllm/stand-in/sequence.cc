#include "sequence.h"

#include <algorithm>

#include "choice.h"

namespace stand_in {

using tensorrt_llm::executor::FinishReason;
using tensorrt_llm::executor::Result;
using tensorrt_llm::executor::TokenIdType;
using tensorrt_llm::executor::VecTokens;

namespace {

bool stops(const Sequence& sequence) {
    const auto words = sequence.request.getStopWords();
    return words && std::any_of(words->begin(), words->end(), [&](const VecTokens& word) {
               return static_cast<std::size_t>(sequence.generated) >= word.size() &&
                      std::equal(word.rbegin(), word.rend(), sequence.tokens.rbegin());
           });
}

}  // namespace

void generate(Sequence& sequence, std::span<const float> logits, Result& result) {
    const TokenIdType token = choose(sequence.request, sequence.tokens, logits);
    ++sequence.generated;
    result.outputTokenIds = {{}};
    if (token == sequence.request.getEndId()) {
        result.isFinal = true;
        result.finishReasons = {FinishReason::kEND_ID};
        return;
    }
    sequence.tokens.push_back(token);
    if (!sequence.request.getOutputConfig().excludeInputFromOutput)
        result.outputTokenIds = {sequence.request.getInputTokenIds()};
    result.outputTokenIds.front().push_back(token);
    if (stops(sequence)) {
        result.isFinal = true;
        result.finishReasons = {FinishReason::kSTOP_WORDS};
    } else if (sequence.generated >= sequence.request.getMaxTokens()) {
        result.isFinal = true;
        result.finishReasons = {FinishReason::kLENGTH};
    }
}

}  // namespace stand_in
