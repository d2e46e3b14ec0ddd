// Attention agrees with a straightforward computation, and a query has the same bits in every tile.
#include <cstring>
#include <limits>

#include "check.h"
#include "cpu/kernels.h"
#include "cpu/kv_cache.h"

using namespace assay::cpu;
using namespace assay::test;

namespace {

template <typename T>
struct Sequence {
    HeadShape shape;
    std::size_t tokens;
    KvCache<T> cache;
    std::vector<std::uint32_t> blocks;
    std::vector<T> queries, keys, values;

    // Blocks are out of order, and keys and values that no token has written are NaN.
    Sequence(const HeadShape& of, std::size_t length)
        : shape(of),
          tokens(length),
          cache(of, 1, length / 16 + 1),
          queries(rounded<T>(random_floats(length * of.q_width(), 1, 2.0f))),
          keys(rounded<T>(random_floats(length * of.kv_width(), 2, 2.0f))),
          values(rounded<T>(random_floats(length * of.kv_width(), 3))) {
        for (std::size_t i = 0; i < cache.blocks(); ++i)
            blocks.push_back(static_cast<std::uint32_t>(cache.blocks() - 1 - i));
        const CacheView<T> view = cache.layer(0);
        for (std::size_t i = 0; i < cache.blocks() * view.block_stride; ++i) assign(view.base[i], NAN);
        for (std::size_t t = 0; t < tokens; ++t) write(t);
    }

    void write(std::size_t token) {
        constexpr std::size_t kPair = 4 / sizeof(T);
        const CacheView<T> view = cache.layer(0);
        const std::size_t slot = token % 16, dim = shape.head_dim;
        for (std::size_t h = 0; h < shape.kv_heads; ++h) {
            T* base = view.base + blocks[token / 16] * view.block_stride + h * view.head_stride;
            T* value = base + view.value_offset + slot / kPair * kPair * round_up(dim, 16) + slot % kPair;
            for (std::size_t d = 0; d < dim; ++d) {
                const std::size_t from = (token * shape.kv_heads + h) * dim + d;
                base[d / kPair * kPair * 16 + slot * kPair + d % kPair] = keys[from];
                value[d * kPair] = values[from];
            }
        }
    }

    // Outputs of tokens begin..end, in tiles of `step` tokens.
    std::vector<T> run(const Kernels<T>& kernels, std::size_t begin, std::size_t end, std::size_t step) {
        std::vector<T> rows(queries.begin() + static_cast<std::ptrdiff_t>(begin * shape.q_width()),
                            queries.begin() + static_cast<std::ptrdiff_t>(end * shape.q_width()));
        for (std::size_t head = 0; head < shape.heads; head += shape.group())
            for (std::size_t at = begin; at < end; at += step)
                kernels.attention({shape, cache.layer(0), blocks.data(),
                                   rows.data() + (at - begin) * shape.q_width(), shape.q_width(),
                                   std::min(step, end - at), at, head, shape.group(), 0.3f, 0.0f, 0});
        return rows;
    }

    double right(std::size_t token, std::size_t head, std::size_t d) const {
        const std::size_t dim = shape.head_dim, kv = head / shape.group();
        std::vector<double> weights(token + 1);
        double top = -std::numeric_limits<double>::infinity(), total = 0, sum = 0;
        for (std::size_t t = 0; t <= token; ++t) {
            double score = 0;
            for (std::size_t i = 0; i < dim; ++i)
                score += static_cast<double>(widen(queries[token * shape.q_width() + head * dim + i])) *
                         static_cast<double>(widen(keys[(t * shape.kv_heads + kv) * dim + i]));
            weights[t] = 0.3 * score;
            top = std::max(top, weights[t]);
        }
        for (std::size_t t = 0; t <= token; ++t) {
            const double weight = std::exp(weights[t] - top);
            total += weight;
            sum += weight * static_cast<double>(widen(values[(t * shape.kv_heads + kv) * dim + d]));
        }
        return sum / total;
    }
};

template <typename T>
void agrees_and_keeps_bits(const Kernels<T>& kernels, const HeadShape& shape, double tolerance) {
    constexpr std::size_t kLength = 151;
    Sequence<T> sequence(shape, kLength);
    const std::size_t most = kTileRows / shape.group();
    const std::vector<T> all = sequence.run(kernels, 0, kLength, most);
    for (const T& output : all) CHECK(std::isfinite(widen(output)));
    for (std::size_t token = 0; token < kLength; token += 11)
        for (std::size_t head = 0; head < shape.heads; ++head)
            for (std::size_t d = 0; d < shape.head_dim; ++d) {
                const double right = sequence.right(token, head, d);
                const T ours = all[token * shape.q_width() + head * shape.head_dim + d];
                CHECK_THAT(std::abs(static_cast<double>(widen(ours)) - right) < tolerance,
                           std::to_string(widen(ours)) + " for " + std::to_string(right));
            }
    const auto same = [&](const std::vector<T>& rows, std::size_t begin) {
        return std::memcmp(rows.data(), all.data() + begin * shape.q_width(), rows.size() * sizeof(T)) == 0;
    };
    for (std::size_t step = 1; step <= most; step += step < 8 ? 1 : 13)
        CHECK_THAT(same(sequence.run(kernels, 0, kLength, step), 0), "tiles of " + std::to_string(step));
    for (std::size_t begin = 0; begin < kLength; begin += 7)
        CHECK_THAT(same(sequence.run(kernels, begin, kLength, most), begin), std::to_string(begin));
}

// A NaN reaches the queries that see it, and no others.
template <typename T>
void not_a_number_stays_where_it_is_seen(const Kernels<T>& kernels) {
    // Odd, so that in bf16 it is paired with the key before it.
    constexpr std::size_t kBad = 41;
    const HeadShape shape{2, 1, 16};
    Sequence<T> sequence(shape, 64);
    const std::vector<T> before = sequence.run(kernels, 0, 64, 32);
    for (std::size_t d = 0; d < 16; ++d) assign(sequence.values[kBad * 16 + d], NAN);
    sequence.write(kBad);
    const std::vector<T> after = sequence.run(kernels, 0, 64, 32);
    CHECK(std::memcmp(before.data(), after.data(), kBad * shape.q_width() * sizeof(T)) == 0);
    for (std::size_t i = kBad * shape.q_width(); i < after.size(); ++i) CHECK(std::isnan(widen(after[i])));
}

template <typename T>
void all(const Kernels<T>& kernels, double tolerance) {
    for (const HeadShape& shape : {HeadShape{4, 2, 16}, HeadShape{7, 1, 64}, HeadShape{3, 3, 24},
                                   HeadShape{2, 1, 256}, HeadShape{1, 1, 8}})
        agrees_and_keeps_bits(kernels, shape, tolerance);
    not_a_number_stays_where_it_is_seen(kernels);
}

}  // namespace

int main() {
    all(kernels_for<float>("sse41"), 1e-5);
#if defined(__x86_64__)
    if (__builtin_cpu_supports("avx2")) all(kernels_for<float>("avx2"), 1e-5);
    if (__builtin_cpu_supports("avx512bw")) all(kernels_for<float>("avx512_core"), 1e-5);
    if (__builtin_cpu_supports("avx512bf16")) all(kernels_for<bf16>("avx512_core_bf16"), 1e-2);
#endif
}
