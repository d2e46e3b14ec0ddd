// The encoder: a text has the same logits alone and in a batch, and what it cannot compute is refused.
#include "cpu/encoder.h"

#include <algorithm>
#include <map>
#include <span>

#include "check.h"
#include "cpu/buffer.h"
#include "cpu/matmul.h"
#include "cpu/relative_positions.h"

using namespace assay;
using namespace assay::cpu;
using namespace assay::test;

namespace {

constexpr std::size_t kVocabulary = 64, kHidden = 48, kFfn = 40, kBlocks = 24, kMaxTokens = 200;
constexpr std::size_t kSpan = 9, kRows = 260;

// Everything that an encoder may have.
ModelConfig deberta() {
    return {
        .dtype = Dtype::F32,
        .vocab_size = kVocabulary,
        .hidden_size = kHidden,
        .num_layers = 2,
        .embedding_scale = 1.0f,
        .norms =
            {.eps = 1e-5f, .layer_norm = true, .pre_norms = false, .post_norms = false, .sum_norms = true},
        .attention = {.heads = {2, 2, 24},
                      .qkv_bias = true,
                      .output_bias = true,
                      .qk_norm = QkNormSpan::None,
                      .scale = 0.12f,
                      .softcap = 0.0f,
                      .windows = {0, 0},
                      .rope = {.inverse_frequencies = {}, .factor = 1.0f},
                      .window_rope = {.inverse_frequencies = {}, .factor = 1.0f}},
        .feed_forward = {.intermediate_size = kFfn, .activation = Activation::Gelu, .bias = true},
        .head = {.rows = 2, .vocabulary = false, .softcap = 0.0f},
        .positions = {.rows = kRows, .first = 1, .padding = 0},
        .encoder = EncoderConfig{.segments = 2,
                                 .separator = 3,
                                 .relative = {.span = kSpan,
                                              .buckets = kSpan,
                                              .longest = 30,
                                              .normed = true,
                                              .with_queries = true,
                                              .with_keys = true,
                                              .shared_projections = true}},
    };
}

class Model {
  public:
    explicit Model(const ModelConfig& config) : config_(config) {
        const std::size_t width = config.attention.heads.qkv_width();
        floats("embedding", kVocabulary * kHidden);
        floats("position_embedding", kRows * kHidden);
        floats("segment_embedding", 2 * kHidden);
        floats("relative_embedding", 2 * kSpan * kHidden);
        for (const char* name : {"embedding_norm", "relative_norm"}) norm(name);
        for (const std::string layer : {"layers.0.", "layers.1."}) {
            packed(layer + "qkv", width, kHidden);
            packed(layer + "output", kHidden, config.attention.heads.q_width());
            packed(layer + "gate_up", kFfn, kHidden);
            packed(layer + "down", kHidden, kFfn);
            for (const char* name : {"attention_sum_norm", "mlp_sum_norm"}) norm(layer + name);
        }
        floats("head", 2 * kHidden);
    }

    std::unique_ptr<Engine> open() const {
        return make_encoder(config_, {.threads = 2, .max_num_tokens = kMaxTokens, .kv_blocks = kBlocks},
                            weights_);
    }

  private:
    float* room(const std::string& name, std::size_t n, std::size_t bytes = 0) {
        const std::size_t size = std::max(n * sizeof(float), bytes);
        Buffer& buffer = buffers_.emplace(name, Buffer(size)).first->second;
        weights_.add(name, {buffer.as<std::byte>(), size});
        return buffer.as<float>();
    }

    void fill(float* to, std::size_t n, float scale, float around) {
        for (std::size_t i = 0; i < n; ++i) {
            state_ = state_ * 1664525u + 1013904223u;
            to[i] = around + scale * (static_cast<float>(state_ >> 16) / 32768.0f - 1.0f);
        }
    }

    void floats(const std::string& name, std::size_t n) { fill(room(name, n), n, 0.5f, 0.0f); }

    void norm(const std::string& name) {
        fill(room(name, kHidden), kHidden, 0.3f, 1.0f);
        floats(name + "_bias", kHidden);
    }

    void packed(const std::string& name, std::size_t out, std::size_t in) {
        Matmul matmul({.dtype = Dtype::F32, .out = out, .in = in, .result = Dtype::F32});
        std::vector<float> matrix(out * in);
        fill(matrix.data(), matrix.size(), 0.4f, 0.0f);
        float* to = room(name, 0, matmul.packed_bytes());
        matmul.pack(std::as_bytes(std::span(matrix)),
                    {reinterpret_cast<std::byte*>(to), matmul.packed_bytes()});
        floats(name + "_bias", out);
    }

    const ModelConfig config_;
    std::map<std::string, Buffer> buffers_;
    Weights weights_;
    std::uint32_t state_ = 1;
};

// The logits of texts in one iteration, each read at its first token.
std::vector<float> run(Engine& engine, const std::vector<std::vector<std::uint32_t>>& texts) {
    std::vector<std::uint32_t> ids, table;
    std::vector<Chunk> chunks;
    const std::vector<std::size_t> reads(texts.size(), 0);
    for (std::size_t i = 0; i < texts.size(); ++i) {
        const std::size_t begin = ids.size(), block = table.size();
        ids.insert(ids.end(), texts[i].begin(), texts[i].end());
        for (std::size_t b = 0; b < texts[i].size(); b += kTokensPerBlock)
            table.push_back(static_cast<std::uint32_t>(kBlocks - 1 - table.size()));
        chunks.push_back({begin, ids.size(), 0, texts[i].size(), block, table.size(), i, i + 1});
    }
    std::vector<float> logits(2 * texts.size());
    engine.run({ids, table, chunks, reads}, logits);
    return logits;
}

std::vector<std::uint32_t> text(std::size_t length, std::uint32_t seed) {
    std::vector<std::uint32_t> ids(length);
    for (std::uint32_t& id : ids) id = (seed = seed * 1103515245u + 12345u) >> 16 & 63u;
    return ids;
}

void a_text_has_the_same_logits_in_a_batch() {
    for (const bool mean : {false, true}) {
        ModelConfig config = deberta();
        config.encoder->mean = mean;
        const Model model(config);
        const auto engine = model.open();
        const std::vector<std::vector<std::uint32_t>> texts = {text(1, 1), text(97, 2), text(16, 3),
                                                               text(70, 4)};
        const std::vector<float> together = run(*engine, texts);
        for (std::size_t i = 0; i < texts.size(); ++i) {
            const std::vector<float> alone = run(*engine, {texts[i]});
            CHECK_THAT(std::equal(alone.begin(), alone.end(), together.begin() + static_cast<long>(2 * i)),
                       "text " + std::to_string(i));
        }
    }
}

void a_token_sees_those_after_it() {
    const Model model(deberta());
    const auto engine = model.open();
    std::vector<std::uint32_t> ids = text(60, 5);
    const std::vector<float> before = run(*engine, {ids});
    ids.back() ^= 1;
    CHECK_THAT(run(*engine, {ids}) != before, "the last token counts at the first");
}

// Expected rows were computed with transformers' make_log_bucket_position.
void distances_share_rows_by_their_logarithm() {
    const RelativeConfig config{.span = 16, .buckets = 16, .longest = 40};
    const std::vector<std::int32_t> rows = rows_by_distance(config, 60);
    const auto row = [&](int distance) { return rows[static_cast<std::size_t>(59 - distance)]; };
    const std::vector<std::pair<int, std::int32_t>> expected = {
        {-59, 0}, {-39, 1}, {-20, 3}, {-9, 7},  {-8, 8},  {-7, 9},  {0, 16},  {1, 17},  {7, 23},
        {8, 24},  {9, 25},  {10, 25}, {12, 26}, {15, 27}, {20, 29}, {30, 30}, {39, 31}, {59, 31}};
    for (const auto& [distance, bucket] : expected)
        CHECK_THAT(row(distance) == bucket, "distance " + std::to_string(distance));
}

void what_an_encoder_cannot_compute_is_refused() {
    const auto refused = [](const std::string& part, auto change) {
        ModelConfig config = deberta();
        change(config);
        check_throws(part, [&] { Model(config).open(); });
    };
    refused("encoders only with", [](ModelConfig& m) { m.residual.scale = 0.5f; });
    refused("encoders only with", [](ModelConfig& m) { m.head.vocabulary = true; });
    refused("buckets of relative positions", [](ModelConfig& m) { m.encoder->relative.buckets = 3; });
    refused("as many key-value heads", [](ModelConfig& m) { m.attention.heads = {4, 2, 16}; });
}

void a_part_of_a_text_and_a_text_without_positions_are_refused() {
    const Model model(deberta());
    const auto engine = model.open();
    const std::vector<std::uint32_t> ids(20, 5), table = {0, 1};
    const std::vector<std::size_t> reads = {0};
    std::vector<float> logits(2);
    const std::vector<Chunk> part = {{0, 20, 0, 40, 0, 2, 0, 1}};
    check_throws("reads as a whole", [&] { engine->run({ids, table, part, reads}, logits); });
    ModelConfig few = deberta();
    few.positions.rows = 20;
    const std::vector<Chunk> whole = {{0, 20, 0, 20, 0, 2, 0, 1}};
    const Model short_model(few);
    const auto short_engine = short_model.open();
    check_throws("the model has 20", [&] { short_engine->run({ids, table, whole, reads}, logits); });
}

}  // namespace

int main() {
    a_text_has_the_same_logits_in_a_batch();
    a_token_sees_those_after_it();
    distances_share_rows_by_their_logarithm();
    what_an_encoder_cannot_compute_is_refused();
    a_part_of_a_text_and_a_text_without_positions_are_refused();
}
