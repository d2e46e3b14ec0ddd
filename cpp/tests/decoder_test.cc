// The decoder refuses what it cannot compute, and goes on.
#include "cpu/decoder.h"

#include "check.h"
#include "cpu/buffer.h"
#include "cpu/matmul.h"

using namespace assay;
using namespace assay::cpu;
using namespace assay::test;

namespace {

constexpr std::size_t kVocabulary = 10, kHidden = 32, kFfn = 48, kBlocks = 6, kMaxTokens = 40;

ModelConfig config() {
    const Rope rope{{1.0f, 0.1f, 0.01f, 0.001f}, 1.0f};
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

struct Model {
    std::vector<Buffer> memory;
    Weights weights;

    Model() {
        floats("embedding", kVocabulary * kHidden);
        for (const std::string at : {"layers.0.", "layers.1."}) {
            floats(at + "input_norm", kHidden);
            packed(at + "qkv", 64, kHidden);
            packed(at + "output", kHidden, 32);
            floats(at + "post_norm", kHidden);
            packed(at + "gate_up", 2 * kFfn, kHidden);
            packed(at + "down", kHidden, kFfn);
        }
        floats("final_norm", kHidden);
        floats("head", 3 * kHidden);
    }

    void add(const std::string& name, Buffer buffer) {
        weights.add(name, {buffer.as<std::byte>(), buffer.bytes()});
        memory.push_back(std::move(buffer));
    }
    void floats(const std::string& name, std::size_t n) {
        Buffer buffer(n * sizeof(float));
        const std::vector<float> values = random_floats(n, static_cast<unsigned>(memory.size()));
        std::copy(values.begin(), values.end(), buffer.as<float>());
        add(name, std::move(buffer));
    }
    void packed(const std::string& name, std::size_t out, std::size_t in) {
        Matmul matmul({Dtype::F32, out, in, Dtype::F32});
        Buffer buffer(matmul.packed_bytes());
        const std::vector<float> values = random_floats(out * in, static_cast<unsigned>(memory.size()), 0.3f);
        matmul.pack(std::as_bytes(std::span(values)), {buffer.as<std::byte>(), buffer.bytes()});
        add(name, std::move(buffer));
    }
};

struct Request {
    std::vector<std::uint32_t> ids = {1, 2, 3, 4};
    std::vector<std::uint32_t> table = {5, 0};
    std::vector<Chunk> chunks = {{0, 4, 0, 0, 1, 0, 1}};
    std::vector<std::size_t> reads = {3};
    std::vector<float> logits = std::vector<float>(3);

    void run(Engine& engine) { engine.run({ids, table, chunks, reads}, logits); }
};

void bad_iterations_are_refused(Engine& engine) {
    const auto refused = [&](const std::string& part, auto change) {
        Request request;
        change(request);
        check_throws(part, [&] { request.run(engine); });
    };
    refused("token id 10", [](Request& r) { r.ids[2] = kVocabulary; });
    refused("token id 4294967295", [](Request& r) { r.ids[0] = 0xffffffff; });
    refused("KV block 6 of 6", [](Request& r) { r.table[0] = kBlocks; });
    refused("too short for position 16", [](Request& r) { r.chunks[0].position = 13; });
    refused("block table is out of range", [](Request& r) { r.chunks[0].block_end = 3; });
    refused("chunks that are not consecutive", [](Request& r) { r.chunks[0].token_begin = 1; });
    refused("chunks that are not consecutive", [](Request& r) { r.chunks[0].token_end = 5; });
    refused("chunks that are not consecutive", [](Request& r) { r.chunks[0].token_end = 0; });
    refused("tokens that belong to no chunk", [](Request& r) {
        r.chunks[0].token_end = 3;
        r.reads = {2};
    });
    refused("no room for its logits", [](Request& r) { r.logits.resize(2); });
    refused("reads that are not consecutive", [](Request& r) { r.chunks[0].read_end = 2; });
    refused("reads that belong to no chunk", [](Request& r) { r.chunks[0].read_end = 0; });
    refused("outside a chunk", [](Request& r) { r.reads[0] = 4; });
    refused("out of order", [](Request& r) {
        r.reads = {3, 3};
        r.chunks[0].read_end = 2;
    });
    refused("more than 40", [](Request& r) { r.ids.resize(kMaxTokens + 1); });
}

void bad_models_are_refused(const Weights& weights) {
    const auto refused = [&](const std::string& part, auto change) {
        ModelConfig model = config();
        change(model);
        check_throws(part, [&] { make_decoder(model, {1, kMaxTokens, kBlocks}, weights); });
    };
    refused("a multiple of 8", [](ModelConfig& m) { m.attention.heads.head_dim = 12; });
    refused("a multiple of 8", [](ModelConfig& m) { m.attention.heads.head_dim = 512; });
    refused("a multiple of the key-value heads", [](ModelConfig& m) { m.attention.heads.kv_heads = 3; });
    refused("rotary frequencies, at most one",
            [](ModelConfig& m) { m.attention.rope.inverse_frequencies.resize(5); });
    refused("one window for each layer", [](ModelConfig& m) { m.attention.windows.pop_back(); });
    refused("no tensor `layers.2.input_norm`", [](ModelConfig& m) {
        m.num_layers = 3;
        m.attention.windows = {0, 0, 0};
    });
    refused("`head` has", [](ModelConfig& m) { m.head.rows = 100; });
    refused("no tensor `layers.0.qkv_bias`", [](ModelConfig& m) { m.attention.qkv_bias = true; });
    refused("`embedding` has", [](ModelConfig& m) { m.vocab_size = 1000; });
}

}  // namespace

int main() {
    const Model model;
    bad_models_are_refused(model.weights);
    const auto engine = make_decoder(config(), {2, kMaxTokens, kBlocks}, model.weights);
    Request first;
    first.run(*engine);
    for (const float logit : first.logits) CHECK(std::isfinite(logit) && logit != 0.0f);
    bad_iterations_are_refused(*engine);

    // As much as fits, in two chunks, and nothing at all.
    Request full;
    full.ids.assign(kMaxTokens, 7);
    full.table = {0, 1, 2, 3};
    full.chunks = {{0, 20, 0, 0, 2, 0, 0}, {20, 40, 0, 2, 4, 0, 1}};
    full.reads = {19};
    full.run(*engine);
    Request empty;
    empty.ids.clear();
    empty.chunks.clear();
    empty.reads.clear();
    empty.logits.clear();
    empty.run(*engine);

    Request again;
    again.run(*engine);
    CHECK(again.logits == first.logits);
}
