// Models of a test's own process, which answer in place of the script's logits.
#pragma once

#include "logits.h"

namespace stand_in {

// What the model given under this number answers after `tokens`: [width].
std::vector<float> logits_of_given(std::size_t number, const Tokens& tokens, std::size_t width);

}  // namespace stand_in
