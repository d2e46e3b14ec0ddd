// Norms, rotations, activations and logits, on every instruction set that this processor has.
#include "cpu/kernels.h"

#include "check.h"
#include "cpu/kv_cache.h"

using namespace assay::cpu;
using namespace assay::test;

namespace {

void check_near(double ours, double right, double tolerance, const std::string& what) {
    CHECK_THAT(std::abs(ours - right) <= tolerance * (1.0 + std::abs(right)),
               what + ": " + std::to_string(ours) + " for " + std::to_string(right));
}

template <typename T>
void norms_and_activations(const Kernels<T>& kernels, std::size_t n, double tolerance) {
    const std::vector<float> x = random_floats(2 * n, 1, 3.0f), weight = random_floats(n, 2);
    const std::vector<T> halves = rounded<T>(x);
    std::vector<T> y(n);
    std::vector<float> floats(n);
    double squares = 0;
    for (std::size_t i = 0; i < n; ++i) squares += static_cast<double>(x[i]) * static_cast<double>(x[i]);
    const double factor = 1.0 / std::sqrt(squares / static_cast<double>(n) + 1e-5);

    const NormWeights norm{weight.data(), nullptr, 1e-5f};
    kernels.norm(x.data(), norm, n, y.data());
    kernels.norm_f32(x.data(), norm, n, floats.data());
    for (std::size_t i = 0; i < n; ++i) {
        const double right = static_cast<double>(x[i]) * factor * static_cast<double>(weight[i]);
        check_near(static_cast<double>(widen(y[i])), right, tolerance, "norm");
        check_near(static_cast<double>(floats[i]), right, 1e-6, "norm in f32");
    }
    kernels.norm(x.data(), NormWeights{}, n, y.data());
    std::vector<float> in_place = x;
    kernels.norm_f32(in_place.data(), norm, n, in_place.data());
    for (std::size_t i = 0; i < n; ++i) {
        CHECK_THAT(widen(y[i]) == widen(halves[i]), "without a norm rows are only rounded");
        CHECK_THAT(in_place[i] == floats[i], "a row may be normed in place");
    }
    kernels.activate(Activation::Silu, halves.data(), 1.0f, n, y.data());
    for (std::size_t i = 0; i < n; ++i) {
        const auto gate = static_cast<double>(widen(halves[i]));
        const auto up = static_cast<double>(widen(halves[n + i]));
        check_near(static_cast<double>(widen(y[i])), gate / (1 + std::exp(-gate)) * up, tolerance, "silu");
    }
    float logits[2];
    kernels.head(x.data(), weight.data(), 2, n, logits);
    for (std::size_t row = 0; row < 2; ++row) {
        double right = 0;
        for (std::size_t i = 0; i < n; ++i)
            right += static_cast<double>(x[row * n + i]) * static_cast<double>(weight[i]);
        check_near(static_cast<double>(logits[row]), right, 1e-5, "head");
    }
    kernels.embed(halves.data(), 2.0f, n, floats.data());
    for (std::size_t i = 0; i < n; ++i) CHECK(floats[i] == 2.0f * widen(halves[i]));
}

template <typename T>
void quantization(const Kernels<T>& kernels, std::size_t n) {
    const std::vector<T> x = rounded<T>(random_floats(n, 4, 3.0f));
    std::vector<std::int8_t> y(n);
    const float scale = kernels.quantize(x.data(), n, y.data());
    float top = 0;
    for (std::size_t i = 0; i < n; ++i) {
        top = std::max(top, std::abs(widen(x[i])));
        CHECK(std::abs(static_cast<float>(y[i]) * scale - widen(x[i])) <= 0.5001f * scale);
    }
    CHECK(scale == top / 127.0f);
    const std::vector<T> zeros = rounded<T>(std::vector<float>(n));
    CHECK(kernels.quantize(zeros.data(), n, y.data()) == 0.0f && y[0] == 0);
    // A number that is not finite makes the scale not finite, at any index.
    for (const float fault : {std::nanf(""), HUGE_VALF, -HUGE_VALF})
        for (const std::size_t at : {std::size_t{0}, n / 2, n - 1}) {
            std::vector<float> values(n, 1.0f);
            values[at] = fault;
            const std::vector<T> faulty = rounded<T>(values);
            CHECK(!std::isfinite(kernels.quantize(faulty.data(), n, y.data())));
        }

    const std::vector<float> columns = random_floats(n, 5), bias = random_floats(n, 6);
    std::vector<std::int32_t> sums(n);
    for (std::size_t i = 0; i < n; ++i) sums[i] = static_cast<std::int32_t>(i * 31) - 400;
    std::vector<float> plain(n), added(n, 1.0f);
    std::vector<T> halves(n);
    kernels.dequantize({sums.data(), 0.25f, columns.data(), nullptr, n}, false, plain.data());
    kernels.dequantize({sums.data(), 0.25f, columns.data(), bias.data(), n}, true, added.data());
    kernels.dequantize_rounded({sums.data(), 0.25f, columns.data(), nullptr, n}, halves.data());
    for (std::size_t i = 0; i < n; ++i) {
        const double right = static_cast<double>(sums[i]) * 0.25 * static_cast<double>(columns[i]);
        check_near(static_cast<double>(plain[i]), right, 1e-6, "dequantized");
        check_near(static_cast<double>(added[i]), right + static_cast<double>(bias[i]) + 1, 1e-5, "added");
        check_near(static_cast<double>(widen(halves[i])), right, 1e-2, "rounded");
    }
}

// Large gates do not overflow, and NaN stays NaN.
template <typename T>
void activations_far_out(const Kernels<T>& kernels) {
    std::vector<float> gates(32, 1.0f);
    gates[0] = -1e30f;
    gates[1] = 1e30f;
    gates[2] = -100.0f;
    gates[3] = std::nanf("");
    const std::vector<T> in = rounded<T>(gates);
    std::vector<T> y(16);
    kernels.activate(Activation::Silu, in.data(), 1.0f, 16, y.data());
    CHECK(std::abs(widen(y[0])) < 1e-6f);
    CHECK(widen(y[1]) > 9e29f && widen(y[1]) < 1.1e30f);
    CHECK(std::abs(widen(y[2])) < 1e-6f);
    CHECK(std::isnan(widen(y[3])));
}

template <typename T>
void rotations(const Kernels<T>& kernels, std::size_t dim, double tolerance) {
    const HeadShape shape{3, 1, dim};
    const KvCache<T> cache(shape, 1, 1);
    const CacheView<T> view = cache.layer(0);
    const std::vector<float> qkv = random_floats(shape.qkv_width(), 1);
    std::vector<float> cosines(dim / 2), sines(dim / 2);
    for (std::size_t i = 0; i < dim / 2; ++i) {
        cosines[i] = std::cos(static_cast<float>(i));
        sines[i] = std::sin(static_cast<float>(i));
    }
    std::vector<T> queries(shape.q_width());
    constexpr std::size_t kSlot = 5, kPair = 4 / sizeof(T);
    kernels.rope(shape, qkv.data(), {cosines.data(), sines.data(), dim, {}, {}}, kSlot, view, queries.data());
    const auto rotated = [&](std::size_t head, std::size_t d) {
        const float* x = qkv.data() + head * dim;
        const std::size_t i = d % (dim / 2);
        const double turned = static_cast<double>(x[(d + dim / 2) % dim]) * static_cast<double>(sines[i]);
        return static_cast<double>(x[d]) * static_cast<double>(cosines[i]) + (d < dim / 2 ? -turned : turned);
    };
    for (std::size_t d = 0; d < dim; ++d) {
        for (std::size_t head = 0; head < 3; ++head)
            check_near(static_cast<double>(widen(queries[head * dim + d])), rotated(head, d), tolerance,
                       "query");
        const T key = view.base[d / kPair * kPair * 16 + kSlot * kPair + d % kPair];
        check_near(static_cast<double>(widen(key)), rotated(3, d), tolerance, "key");
        const T value = view.base[view.value_offset + kSlot / kPair * kPair * round_up(dim, 16) + d * kPair +
                                  kSlot % kPair];
        check_near(static_cast<double>(widen(value)), static_cast<double>(qkv[4 * dim + d]), tolerance,
                   "value");
    }
}

template <typename T>
void all(const Kernels<T>& kernels, double tolerance) {
    for (const std::size_t n : {8, 16, 100, 896}) norms_and_activations(kernels, n, tolerance);
    for (const std::size_t n : {8, 16, 100, 896}) quantization(kernels, n);
    activations_far_out(kernels);
    for (const std::size_t dim : {8, 24, 64, 256}) rotations(kernels, dim, tolerance);
}

}  // namespace

int main() {
    all(kernels_for<float>("sse41"), 2e-6);
#if defined(__x86_64__)
    if (__builtin_cpu_supports("avx2")) all(kernels_for<float>("avx2"), 2e-6);
    if (__builtin_cpu_supports("avx512bw")) all(kernels_for<float>("avx512_core"), 2e-6);
    if (__builtin_cpu_supports("avx512bf16")) all(kernels_for<bf16>("avx512_core_bf16"), 5e-3);
#endif
    check_throws("--dtype f32", [] { kernels_for<bf16>("avx2"); });
}
