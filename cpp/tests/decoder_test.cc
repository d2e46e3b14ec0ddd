// The decoder of every kind of model: the same logits alone and in a batch, and a refusal of what it cannot
// compute.
#include "cpu/decoder.h"

#include <algorithm>
#include <span>

#include "check.h"
#include "cpu/matmul.h"
#include "random_decoder.h"
#include "small_decoders.h"

using namespace assay;
using namespace assay::cpu;
using namespace assay::test;

namespace {

struct Request {
    std::vector<std::uint32_t> ids = {1, 2, 3, 4};
    std::vector<std::uint32_t> table = {5, 0};
    std::vector<Chunk> chunks = {{0, 4, 0, 4, 0, 1, 0, 1}};
    std::vector<std::size_t> reads = {3};

    std::vector<float> run(Engine& engine) const {
        std::vector<float> logits(reads.size() * engine.head_rows());
        engine.run({ids, table, chunks, reads}, logits);
        return logits;
    }
};

// A text of 25 tokens, in two chunks of one iteration and beside another text, and alone.
void a_text_has_the_same_logits_alone_and_in_a_batch(const ModelConfig& config) {
    const RandomDecoder model(config);
    const auto engine = make_decoder(config, {2, kMaxTokens, kBlocks}, model.weights());
    Request alone;
    alone.ids.clear();
    for (std::uint32_t i = 0; i < 25; ++i)
        alone.ids.push_back(i * 7 % static_cast<std::uint32_t>(kVocabulary));
    alone.table = {3, 1};
    alone.chunks = {{0, 25, 0, 25, 0, 2, 0, 2}};
    alone.reads = {10, 24};
    const std::vector<float> expected = alone.run(*engine);
    for (const float logit : expected) CHECK(std::isfinite(logit) && logit != 0.0f);

    Request batch;
    batch.ids.insert(batch.ids.end(), alone.ids.begin(), alone.ids.end());
    batch.table = {6, 4, 2};
    batch.chunks = {{0, 4, 0, 4, 0, 1, 0, 1}, {4, 21, 0, 25, 1, 3, 1, 2}, {21, 29, 17, 25, 1, 3, 2, 3}};
    batch.reads = {3, 10, 7};
    const std::vector<float> all = batch.run(*engine);
    CHECK(std::ranges::equal(std::span(all).subspan(engine->head_rows()), expected));
}

void bad_iterations_are_refused(Engine& engine) {
    const auto refused = [&](const std::string& part, auto change) {
        Request request;
        change(request);
        check_throws(part, [&] { request.run(engine); });
    };
    refused("token id 64", [](Request& r) { r.ids[2] = kVocabulary; });
    refused("token id 4294967295", [](Request& r) { r.ids[0] = 0xffffffff; });
    refused("KV block 8 of 8", [](Request& r) { r.table[0] = kBlocks; });
    refused("too short for position 16", [](Request& r) {
        r.chunks[0].position = 13;
        r.chunks[0].text_tokens = 17;
    });
    refused("4 tokens at position 0 of a text of 3 tokens", [](Request& r) { r.chunks[0].text_tokens = 3; });
    refused("of a text of 4 tokens", [](Request& r) { r.chunks[0].position = ~std::size_t{0} - 1; });
    refused("block table is out of range", [](Request& r) { r.chunks[0].block_end = 3; });
    refused("chunks that are not consecutive", [](Request& r) { r.chunks[0].token_begin = 1; });
    refused("chunks that are not consecutive", [](Request& r) { r.chunks[0].token_end = 5; });
    refused("chunks that are not consecutive", [](Request& r) { r.chunks[0].token_end = 0; });
    refused("tokens that belong to no chunk", [](Request& r) {
        r.chunks[0].token_end = 3;
        r.reads = {2};
    });
    refused("reads that are not consecutive", [](Request& r) { r.chunks[0].read_end = 2; });
    refused("reads that belong to no chunk", [](Request& r) { r.chunks[0].read_end = 0; });
    refused("outside a chunk", [](Request& r) { r.reads[0] = 4; });
    refused("out of order", [](Request& r) {
        r.reads = {3, 3};
        r.chunks[0].read_end = 2;
    });
    refused("more than 40", [](Request& r) { r.ids.resize(kMaxTokens + 1); });
    const Request request;
    std::vector<float> logits(2);
    check_throws("no room for its logits", [&] {
        engine.run({request.ids, request.table, request.chunks, request.reads}, logits);
    });
}

void bad_models_are_refused(const Weights& weights) {
    const auto refused = [&](const std::string& part, auto change) {
        ModelConfig model = plain();
        change(model);
        check_throws(part, [&] { make_decoder(model, {1, kMaxTokens, kBlocks}, weights); });
    };
    refused("a multiple of 8", [](ModelConfig& m) { m.attention.heads.head_dim = 12; });
    refused("a multiple of 8", [](ModelConfig& m) { m.attention.heads.head_dim = 512; });
    refused("a multiple of the key-value heads", [](ModelConfig& m) { m.attention.heads.kv_heads = 3; });
    refused("at most one rotary frequency",
            [](ModelConfig& m) { m.attention.rope.inverse_frequencies.resize(5); });
    refused("as many rotary frequencies for long texts", [](ModelConfig& m) {
        m.attention.rope.usual_tokens = 9;
        m.attention.rope.long_inverse_frequencies = {1.0f};
    });
    refused("a base and a factor", [](ModelConfig& m) { m.attention.rope.usual_tokens = 9; });
    refused("side by side only without",
            [](ModelConfig& m) { m.residual = {.parallel = true, .scale = 0.5f}; });
    refused("no more than there are", [](ModelConfig& m) {
        m.feed_forward.experts.count = 2;
        m.feed_forward.experts.active = 3;
    });
    refused("experts in layers that exist", [](ModelConfig& m) {
        m.feed_forward.experts.count = m.feed_forward.experts.active = 2;
        m.feed_forward.experts.layers = {2};
    });
    refused("one window for each layer", [](ModelConfig& m) { m.attention.windows.pop_back(); });
    refused("no tensor `layers.2.input_norm`", [](ModelConfig& m) {
        m.num_layers = 3;
        m.attention.windows = {0, 0, 0};
    });
    refused("`head` has", [](ModelConfig& m) { m.head.rows = 100; });
    refused("no tensor `layers.0.qkv_bias`", [](ModelConfig& m) { m.attention.qkv_bias = true; });
    refused("`embedding` has", [](ModelConfig& m) { m.vocab_size = 1000; });
}

void an_engine_goes_on_after_a_refusal_and_takes_all_that_fits_or_nothing() {
    const RandomDecoder model(plain());
    bad_models_are_refused(model.weights());
    const auto engine = make_decoder(plain(), {2, kMaxTokens, kBlocks}, model.weights());
    const std::vector<float> first = Request().run(*engine);
    bad_iterations_are_refused(*engine);
    Request full;
    full.ids.assign(kMaxTokens, 7);
    full.table = {0, 1, 2, 3};
    full.chunks = {{0, 20, 0, 20, 0, 2, 0, 0}, {20, 40, 0, 20, 2, 4, 0, 1}};
    full.reads = {19};
    full.run(*engine);
    Request empty;
    empty.ids.clear();
    empty.chunks.clear();
    empty.reads.clear();
    CHECK(empty.run(*engine).empty());
    CHECK(Request().run(*engine) == first);
}

}  // namespace

int main() {
    an_engine_goes_on_after_a_refusal_and_takes_all_that_fits_or_nothing();
    for (ModelConfig config : every_decoder()) {
        a_text_has_the_same_logits_alone_and_in_a_batch(config);
        config.dtype = Dtype::Bf16;
        if (supports_bf16()) a_text_has_the_same_logits_alone_and_in_a_batch(config);
        config.dtype = Dtype::Int8;
        if (supports_int8()) a_text_has_the_same_logits_alone_and_in_a_batch(config);
    }
}
