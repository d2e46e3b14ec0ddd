// A minimal test framework.
#pragma once

#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <functional>
#include <random>
#include <string>
#include <vector>

#include "cpu/types.h"

namespace assay::test {

[[noreturn]] inline void fail(const char* file, int line, const std::string& what) {
    std::fprintf(stderr, "%s:%d: %s\n", file, line, what.c_str());
    std::exit(1);
}

#define CHECK(condition) \
    if (!(condition)) assay::test::fail(__FILE__, __LINE__, #condition)

#define CHECK_THAT(condition, what) \
    if (!(condition)) assay::test::fail(__FILE__, __LINE__, std::string(#condition) + ": " + (what))

// Fails unless the action throws an exception whose message contains `part`.
inline void check_throws(const std::string& part, const std::function<void()>& action) {
    try {
        action();
    } catch (const std::exception& error) {
        CHECK_THAT(std::string(error.what()).find(part) != std::string::npos, error.what());
        return;
    }
    fail(__FILE__, __LINE__, "expected an exception with `" + part + "`");
}

inline std::vector<float> random_floats(std::size_t n, unsigned seed, float scale = 1.0f) {
    std::mt19937 generator(seed);
    std::uniform_real_distribution<float> values(-scale, scale);
    std::vector<float> result(n);
    for (float& value : result) value = values(generator);
    return result;
}

// Rounds to nearest even, as the engine stores.
inline void assign(float& to, float value) { to = value; }
inline void assign(cpu::bf16& to, float value) {
    std::uint32_t bits;
    std::memcpy(&bits, &value, sizeof bits);
    to.bits = static_cast<std::uint16_t>((bits + 0x7fff + (bits >> 16 & 1)) >> 16);
}

template <typename T>
std::vector<T> rounded(const std::vector<float>& values) {
    std::vector<T> result(values.size());
    for (std::size_t i = 0; i < values.size(); ++i) assign(result[i], values[i]);
    return result;
}

}  // namespace assay::test
