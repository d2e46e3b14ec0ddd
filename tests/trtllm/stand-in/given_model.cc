#include "given_model.h"

#include <map>
#include <mutex>

namespace {

// Logits after `count` tokens, `[width]`.
using Model = void (*)(void* context, const std::int32_t* tokens, std::size_t count, float* logits,
                       std::size_t width);

struct Given {
    Model model = nullptr;
    void* context = nullptr;
};

std::mutex given_mutex;
std::map<std::size_t, Given> given;

}  // namespace

// What sequences are answered with where the script says `callback` and this number.
extern "C" void stand_in_set_model(std::size_t number, Model model, void* context) {
    const std::lock_guard lock(given_mutex);
    given[number] = {model, context};
}

namespace stand_in {

std::vector<float> logits_of_given(std::size_t number, const Tokens& tokens, std::size_t width) {
    std::vector<float> logits(width, 0.0f);
    const std::lock_guard lock(given_mutex);
    const Given& model = given.at(number);
    model.model(model.context, tokens.data(), tokens.size(), logits.data(), logits.size());
    return logits;
}

}  // namespace stand_in
