// The decoder of every kind of model: the same logits alone and in a batch, and a refusal of what it cannot
// compute.
#include "cpu/decoder.h"

#include <algorithm>
#include <span>

#include "check.h"
#include "cpu/matmul.h"
#include "random_decoder.h"

using namespace assay;
using namespace assay::cpu;
using namespace assay::test;

namespace {

constexpr std::size_t kVocabulary = 64, kHidden = 32, kFfn = 48, kBlocks = 8, kMaxTokens = 40;

ModelConfig plain() {
    const Rope rope{.inverse_frequencies = {1.0f, 0.1f, 0.01f, 0.001f}, .factor = 1.0f};
    return {
        .dtype = Dtype::F32,
        .vocab_size = kVocabulary,
        .hidden_size = kHidden,
        .num_layers = 2,
        .embedding_scale = 1.0f,
        .norms = {.eps = 1e-5f, .layer_norm = false, .pre_norms = true, .post_norms = false},
        .attention = {.heads = {4, 2, 8},
                      .qkv_bias = false,
                      .output_bias = false,
                      .qk_norm = QkNormSpan::None,
                      .scale = 0.3f,
                      .softcap = 0.0f,
                      .windows = {0, 0},
                      .rope = rope,
                      .window_rope = rope},
        .feed_forward = {.intermediate_size = kFfn, .activation = Activation::Silu, .bias = false},
        .head = {.rows = 3, .vocabulary = false, .softcap = 0.0f},
    };
}

// Norms on heads and branches, biases, a cap, a window.
ModelConfig with_every_norm() {
    ModelConfig model = plain();
    model.norms.post_norms = true;
    model.attention.qk_norm = QkNormSpan::EachHead;
    model.attention.qkv_bias = true;
    model.attention.softcap = 5.0f;
    model.attention.windows = {0, 7};
    model.feed_forward.activation = Activation::GeluTanh;
    return model;
}

// Norms over the outputs of branches only, and over all heads together.
ModelConfig with_output_norms() {
    ModelConfig model = plain();
    model.norms.pre_norms = false;
    model.norms.post_norms = true;
    model.attention.qk_norm = QkNormSpan::AllHeads;
    return model;
}

// Layer norms, biases, no gate, half of each head rotated.
ModelConfig with_layer_norms() {
    ModelConfig model = plain();
    model.norms.layer_norm = true;
    model.attention.output_bias = true;
    model.attention.rope.inverse_frequencies.resize(2);
    model.feed_forward.activation = Activation::Relu2;
    model.feed_forward.bias = true;
    return model;
}

// Norms over each head with weights of its own, and queries that grow at every seventh position.
ModelConfig with_norms_by_head() {
    ModelConfig model = with_layer_norms();
    model.attention.qk_norm = QkNormSpan::OwnHead;
    model.attention.query_growth = {.beta = 0.3f, .length = 7};
    return model;
}

// Frequencies by the length of the text, which change beyond 9 tokens.
ModelConfig with_ntk_scaling() {
    ModelConfig model = plain();
    model.attention.rope.usual_tokens = 9;
    model.attention.rope.ntk_theta = 10000.0;
    model.attention.rope.ntk_factor = 2.0;
    return model;
}

// Experts in the second layer, and a shared one.
ModelConfig with_experts() {
    ModelConfig model = plain();
    model.feed_forward.experts = {.count = 5,
                                  .active = 2,
                                  .intermediate_size = 24,
                                  .normalized = true,
                                  .shared_intermediate_size = 40,
                                  .layers = {1}};
    return model;
}

// Attention and feed-forward network side by side, without a gate.
ModelConfig side_by_side() {
    ModelConfig model = plain();
    model.residual.parallel = true;
    model.feed_forward.activation = Activation::Gelu;
    return model;
}

ModelConfig with_scaled_branches() {
    ModelConfig model = plain();
    model.residual.scale = 0.25f;
    return model;
}

ModelConfig with_vocabulary() {
    ModelConfig model = plain();
    model.head = {.rows = kVocabulary, .vocabulary = true, .softcap = 2.0f};
    return model;
}

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
    refused("ends at position 4 of a text of 3 tokens", [](Request& r) { r.chunks[0].text_tokens = 3; });
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
    for (ModelConfig config :
         {plain(), with_every_norm(), with_output_norms(), with_layer_norms(), with_norms_by_head(),
          with_ntk_scaling(), with_experts(), side_by_side(), with_scaled_branches(), with_vocabulary()}) {
        a_text_has_the_same_logits_alone_and_in_a_batch(config);
        config.dtype = Dtype::Bf16;
        if (supports_bf16()) a_text_has_the_same_logits_alone_and_in_a_batch(config);
        config.dtype = Dtype::Int8;
        if (supports_int8()) a_text_has_the_same_logits_alone_and_in_a_batch(config);
    }
}
