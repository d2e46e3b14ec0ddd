// Products agree with sums in double, a row has the same bits in every batch, and a logit among any others.
#include "cpu/matmul.h"

#include <omp.h>

#include <cstring>

#include "check.h"

using namespace assay::cpu;
using namespace assay::test;

namespace {

constexpr std::size_t kMostRows = 700;
// Rows from which oneDNN may copy x before it multiplies, if x has a power of two columns.
constexpr std::size_t kManyRows = 1100;

struct Size {
    std::size_t out;
    std::size_t in;
};

// Widths that are not multiples of any kernel's block, and one long sum.
constexpr Size kSizes[] = {{64, 64}, {112, 64}, {64, 112}, {88, 72}, {200, 160}, {344, 128}, {64, 2432}};
// A sum that threads without columns of their own may share, and one that oneDNN takes in parts.
constexpr Size kLongSums[] = {{64, 20480}, {192, 2048}};

// Small vocabularies.
constexpr Size kVocabularies[] = {{1003, 64}, {2000, 896}, {1500, 2048}, {650, 4096}, {700, 9000}};

template <typename T>
struct Product {
    Matmul matmul;
    std::vector<T> x;
    Buffer packed;
    std::vector<float> bias;

    Product(const Matmul::Shape& shape, const std::vector<float>& weights, const std::vector<float>& input)
        : matmul(shape),
          x(rounded<T>(input)),
          packed(matmul.packed_bytes()),
          bias(random_floats(shape.out, 3)) {
        const std::vector<T> plain = rounded<T>(weights);
        matmul.pack(std::as_bytes(std::span(plain)), {packed.as<std::byte>(), packed.bytes()});
        x.resize(room_for_rows(x.size() / shape.in) * shape.in);
    }

    std::vector<float> run(const Matmul::Shape& shape, std::size_t rows, float start) {
        std::vector<float> y(room_for_rows(rows) * shape.out, start);
        matmul.run(rows, x.data(), packed.as(), shape.bias ? bias.data() : nullptr, y.data());
        y.resize(rows * shape.out);
        return y;
    }
};

template <typename T>
void products_agree_and_rows_keep_their_bits(Dtype dtype, const Size& size, bool bias, bool add) {
    const Matmul::Shape shape{dtype, size.out, size.in, Dtype::F32, bias, add};
    Product<T> product(shape, random_floats(size.out * size.in, 1), random_floats(kMostRows * size.in, 2));
    const std::vector<float> all = product.run(shape, kMostRows, 0.5f);

    const std::vector<T> weights = rounded<T>(random_floats(size.out * size.in, 1));
    for (std::size_t row = 0; row < kMostRows; row += 97)
        for (std::size_t column = 0; column < size.out; ++column) {
            double sum = (bias ? product.bias[column] : 0.0) + (add ? 0.5 : 0.0);
            for (std::size_t k = 0; k < size.in; ++k)
                sum += static_cast<double>(widen(product.x[row * size.in + k])) *
                       static_cast<double>(widen(weights[column * size.in + k]));
            const double difference = std::abs(sum - static_cast<double>(all[row * size.out + column]));
            CHECK_THAT(difference < 1e-4, "off by " + std::to_string(difference));
        }

    for (std::size_t rows = 1; rows <= kMostRows; rows += rows < 130 ? 1 : 57) {
        const std::vector<float> few = product.run(shape, rows, 0.5f);
        CHECK_THAT(
            std::memcmp(few.data(), all.data(), few.size() * sizeof(float)) == 0,
            std::to_string(rows) + " rows of " + std::to_string(size.out) + " x " + std::to_string(size.in));
    }
}

// Few rows have the bits that they have among many.
template <typename T>
void rows_of_long_sums_keep_their_bits(Dtype dtype, const Size& size) {
    const Matmul::Shape shape{dtype, size.out, size.in, Dtype::F32};
    Product<T> product(shape, random_floats(size.out * size.in, 1), random_floats(kManyRows * size.in, 2));
    const std::vector<float> all = product.run(shape, kManyRows, 0.0f);
    for (const std::size_t rows : {1, 2, 3, 8, 16, 40, 41, 256, 500, 1024}) {
        const std::vector<float> few = product.run(shape, rows, 0.0f);
        CHECK_THAT(std::memcmp(few.data(), all.data(), few.size() * sizeof(float)) == 0,
                   std::to_string(rows) + " rows of a sum of " + std::to_string(size.in));
    }
}

// The logit of a token is the same from a matrix of few tokens and from one of the vocabulary.
template <typename T>
void logits_keep_their_bits_among_others(Dtype dtype, const Size& size) {
    constexpr std::size_t kRows = 40;
    const auto shape_of = [&](std::size_t tokens) {
        return Matmul::Shape{dtype, room_for_logits(tokens), size.in, Dtype::F32};
    };
    const Matmul::Shape whole_shape = shape_of(size.out);
    const std::vector<float> weights = random_floats(whole_shape.out * size.in, 1);
    const std::vector<float> input = random_floats(kRows * size.in, 2);
    Product<T> whole(whole_shape, weights, input);
    for (const std::size_t tokens : {2, 3, 7, 17, 64, 65, 130}) {
        const Matmul::Shape shape = shape_of(tokens);
        const auto token = [&](std::size_t index) {
            return index == 0 ? size.out - 1 : (index * 131 + 5) % size.out;
        };
        std::vector<float> chosen;
        for (std::size_t index = 0; index < shape.out; ++index) {
            const float* const row = weights.data() + token(index) * size.in;
            chosen.insert(chosen.end(), row, row + size.in);
        }
        Product<T> few(shape, chosen, input);
        for (const std::size_t rows : {1, 2, 5, 33}) {
            const std::vector<float> all = whole.run(whole_shape, rows, 0.0f);
            const std::vector<float> some = few.run(shape, rows, 0.0f);
            std::size_t different = 0;
            for (std::size_t row = 0; row < rows; ++row)
                for (std::size_t index = 0; index < tokens; ++index)
                    different += some[row * shape.out + index] != all[row * whole_shape.out + token(index)];
            CHECK_THAT(different == 0, std::to_string(different) + " of " + std::to_string(tokens) + " x " +
                                           std::to_string(rows) + " logits, sums of " +
                                           std::to_string(size.in));
        }
    }
}

// int8 products are exact for any number of rows. With factors for columns, each number is that of the sum
// and the factor, rounded once for the product and once for its own format.
template <typename Y>
void int8_products_are_exact(const Size& size, Dtype result) {
    const bool scaled = result != Dtype::Int32;
    Matmul matmul(
        {.dtype = Dtype::Int8, .out = size.out, .in = size.in, .result = result, .scale_columns = scaled});
    const auto bytes = [](std::size_t n, unsigned seed) {
        const std::vector<float> values = random_floats(n, seed, 127.9f);
        return std::vector<std::int8_t>(values.begin(), values.end());
    };
    std::vector<std::int8_t> x = bytes(kMostRows * size.in, 2);
    const std::vector<std::int8_t> weights = bytes(size.out * size.in, 1);
    const std::vector<float> factors = random_floats(size.out, 3);
    const auto expected = [&](std::int32_t sum, std::size_t column) {
        if constexpr (std::is_same_v<Y, std::int32_t>)
            return sum;
        else
            return rounded<Y>({static_cast<float>(sum) * factors[column]}).front();
    };
    x.resize(room_for_rows(kMostRows) * size.in);
    Buffer packed(matmul.packed_bytes());
    matmul.pack(std::as_bytes(std::span(weights)), {packed.as<std::byte>(), packed.bytes()});
    for (const std::size_t rows :
         {std::size_t{1}, std::size_t{3}, std::size_t{16}, std::size_t{37}, kMostRows}) {
        std::vector<Y> y(room_for_rows(rows) * size.out);
        matmul.run(rows, x.data(), packed.as(), scaled ? factors.data() : nullptr, y.data());
        for (std::size_t row = 0; row < rows; row += rows < 40 ? 1 : 97)
            for (std::size_t column = 0; column < size.out; ++column) {
                std::int32_t sum = 0;
                for (std::size_t k = 0; k < size.in; ++k)
                    sum += x[row * size.in + k] * weights[column * size.in + k];
                const Y exact = expected(sum, column);
                CHECK(std::memcmp(&y[row * size.out + column], &exact, sizeof exact) == 0);
            }
    }
}

template <typename T>
void every_size(Dtype dtype) {
    for (const Size& size : kSizes) {
        products_agree_and_rows_keep_their_bits<T>(dtype, size, false, false);
        products_agree_and_rows_keep_their_bits<T>(dtype, size, true, true);
    }
    for (const Size& size : kLongSums) rows_of_long_sums_keep_their_bits<T>(dtype, size);
    for (const Size& size : kVocabularies) logits_keep_their_bits_among_others<T>(dtype, size);
}

}  // namespace

int main() {
    for (const int threads : {1, 2, 5}) {
        omp_set_num_threads(threads);
        every_size<float>(Dtype::F32);
        if (supports_bf16()) every_size<bf16>(Dtype::Bf16);
        if (supports_int8())
            for (const Size& size : kSizes) {
                int8_products_are_exact<std::int32_t>(size, Dtype::Int32);
                int8_products_are_exact<float>(size, Dtype::F32);
                if (supports_bf16()) int8_products_are_exact<bf16>(size, Dtype::Bf16);
            }
    }
    Matmul matmul({Dtype::F32, 64, 64, Dtype::F32});
    std::vector<std::byte> plain(std::size_t{64} * 64 * 4), packed(matmul.packed_bytes());
    check_throws("bytes where [64, 64]", [&] { matmul.pack(std::span(plain).first(100), packed); });
    check_throws("sums at most", [] { Matmul({Dtype::Int8, 16, std::size_t{1} << 18, Dtype::Int32}); });
    check_throws("a packed matrix takes", [&] { matmul.pack(plain, std::span(packed).first(100)); });
}
