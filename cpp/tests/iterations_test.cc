// Decoders under iterations made from bytes. Texts in any chunks, order and blocks, with shared prefixes or
// without, have the logits that they have alone; an iteration that does not fit together is computed or
// refused, and then the decoder goes on.
//
// Runs the files that are named; without any, ASSAY_ITERATION_SEEDS seeds, or 2,000.
#include <algorithm>
#include <fstream>
#include <iterator>
#include <map>
#include <memory>
#include <set>
#include <span>

#include "check.h"
#include "cpu/decoder.h"
#include "random_decoder.h"
#include "small_decoders.h"

using namespace assay;
using namespace assay::cpu;
using namespace assay::test;

namespace {

constexpr std::size_t kMostTexts = 4;

// Choices that bytes make; all are the first one once the bytes are used up.
class Choices {
  public:
    explicit Choices(std::span<const std::uint8_t> bytes) : bytes_(bytes) {}

    std::size_t below(std::size_t n) {
        std::size_t value = 0;
        for (std::size_t left = n - 1; left > 0; left >>= 8) value = value << 8 | next();
        return n == 0 ? 0 : value % n;
    }
    std::size_t between(std::size_t first, std::size_t last) { return first + below(last - first + 1); }
    bool one_in(std::size_t n) { return below(n) == n - 1; }

  private:
    std::size_t next() {
        if (bytes_.empty()) return 0;
        const std::uint8_t byte = bytes_.front();
        bytes_ = bytes_.subspan(1);
        return byte;
    }

    std::span<const std::uint8_t> bytes_;
};

struct Text {
    std::vector<std::uint32_t> ids;
    std::vector<std::uint32_t> table;
    // Logits after each token, computed alone.
    std::vector<float> logits;
    std::size_t done = 0;
    // The text whose first blocks it shares, and their tokens.
    const Text* parent = nullptr;
    std::size_t shared = 0;
};

struct Built {
    std::vector<std::uint32_t> ids;
    std::vector<std::uint32_t> table;
    std::vector<Chunk> chunks;
    std::vector<std::size_t> reads;

    std::vector<float> run(Engine& engine) const {
        std::vector<float> logits(reads.size() * engine.head_rows());
        engine.run({ids, table, chunks, reads}, logits);
        return logits;
    }

    // Adds the tokens of a text from `begin` on, and reads those that `read` says.
    void add(const Text& text, std::size_t begin, std::size_t end, const auto& read) {
        const std::size_t token = ids.size(), block = table.size(), first_read = reads.size();
        const auto at = text.ids.begin();
        ids.insert(ids.end(), at + static_cast<long>(begin), at + static_cast<long>(end));
        table.insert(table.end(), text.table.begin(), text.table.end());
        for (std::size_t i = begin; i < end; ++i)
            if (read(i)) reads.push_back(i - begin);
        chunks.push_back(
            {token, ids.size(), begin, text.ids.size(), block, table.size(), first_read, reads.size()});
    }
};

struct Decoder {
    ModelConfig config;
    std::unique_ptr<RandomDecoder> weights;
    std::unique_ptr<Engine> engine;

    explicit Decoder(const ModelConfig& model)
        : config(model),
          weights(std::make_unique<RandomDecoder>(model)),
          engine(make_decoder(model, {2, kMaxTokens, kBlocks}, weights->weights())) {}
};

// One decoder of each kind and type that this processor computes in.
std::vector<Decoder>& decoders() {
    static std::vector<Decoder> all = [] {
        std::vector<Decoder> made;
        for (ModelConfig config : every_decoder()) {
            made.emplace_back(config);
            config.dtype = Dtype::Bf16;
            if (supports_bf16()) made.emplace_back(config);
            config.dtype = Dtype::Int8;
            if (supports_int8()) made.emplace_back(config);
        }
        return made;
    }();
    return all;
}

// Texts whose blocks fit into the cache together. Some start as an earlier one does, and share its full
// blocks.
std::vector<Text> make_texts(Choices& choices, const ModelConfig& config) {
    std::vector<std::uint32_t> free(kBlocks);
    for (std::uint32_t i = 0; i < kBlocks; ++i) free[i] = i;
    for (std::size_t i = kBlocks; i > 1; --i) std::swap(free[i - 1], free[choices.below(i)]);
    std::vector<Text> texts(choices.between(1, kMostTexts));
    for (std::size_t number = 0; number < texts.size(); ++number) {
        Text& text = texts[number];
        text.ids.resize(choices.between(1, kMaxTokens));
        for (std::uint32_t& id : text.ids) id = static_cast<std::uint32_t>(choices.below(kVocabulary));
        if (number > 0 && choices.one_in(2)) {
            const Text& parent = texts[choices.below(number)];
            // Frequencies may depend on the length.
            if (config.attention.rope.usual_tokens > 0) text.ids.resize(parent.ids.size());
            const std::size_t both = std::min(parent.ids.size(), text.ids.size() - 1);
            text.shared = choices.below(both / kTokensPerBlock + 1) * kTokensPerBlock;
            text.parent = &parent;
            std::copy_n(parent.ids.begin(), text.shared, text.ids.begin());
            std::copy_n(parent.table.begin(), text.shared / kTokensPerBlock, std::back_inserter(text.table));
            text.done = text.shared;
        }
        while (text.table.size() * kTokensPerBlock < text.ids.size()) {
            if (free.empty()) {
                texts.resize(number);
                return texts;
            }
            text.table.push_back(free.back());
            free.pop_back();
        }
    }
    return texts;
}

// Whether the keys and values of a text's first tokens are in the cache. The text that it shares them with
// may share them in turn.
bool computed(const Text& text, std::size_t tokens) {
    if (text.done < tokens) return false;
    return text.parent == nullptr || computed(*text.parent, std::min(tokens, text.shared));
}

// Adds as much of a text as the bytes choose, if the prefix that it shares has been computed; returns whether
// it did.
bool add_chunk(Choices& choices, Text& text, Built& built,
               std::vector<std::pair<const Text*, std::size_t>>& read) {
    const std::size_t room = kMaxTokens - built.ids.size();
    const bool prefix = computed(text, text.done);
    if (room == 0 || text.done == text.ids.size() || !prefix) return false;
    const std::size_t end = text.done + choices.between(1, std::min(room, text.ids.size() - text.done));
    const std::size_t often = choices.between(1, 5);
    built.add(text, text.done, end, [&](std::size_t token) {
        const bool wanted = choices.one_in(often);
        if (wanted) read.emplace_back(&text, token);
        return wanted;
    });
    text.done = end;
    return true;
}

bool unfinished(const std::vector<Text>& texts) {
    return std::ranges::any_of(texts, [](const Text& text) { return text.done < text.ids.size(); });
}

// Overwrites the whole cache, so that no text finds what it computed before.
void forget_all(Engine& engine) {
    for (std::uint32_t block = 0; block < kBlocks; block += 2) {
        Text text;
        text.ids.assign(2 * kTokensPerBlock, 7);
        text.table = {block, block + 1};
        Built built;
        built.add(text, 0, text.ids.size(), [](std::size_t) { return false; });
        built.run(engine);
    }
}

void texts_in_any_iterations_have_their_logits(Choices& choices, Decoder& decoder) {
    Engine& engine = *decoder.engine;
    std::vector<Text> texts = make_texts(choices, decoder.config);
    for (Text& text : texts) {
        Built alone;
        alone.add(text, 0, text.ids.size(), [](std::size_t) { return true; });
        text.logits = alone.run(engine);
    }
    forget_all(engine);
    while (unfinished(texts)) {
        Built built;
        std::vector<std::pair<const Text*, std::size_t>> read;
        for (std::size_t chunks = choices.between(1, 2 * kMostTexts); chunks > 0; --chunks)
            add_chunk(choices, texts[choices.below(texts.size())], built, read);
        // Bytes that are used up always choose the first text.
        for (Text& text : texts)
            if (built.chunks.empty()) add_chunk(choices, text, built, read);
        const std::vector<float> logits = built.run(engine);
        const std::size_t rows = engine.head_rows();
        for (std::size_t i = 0; i < read.size(); ++i) {
            const auto& [text, token] = read[i];
            const auto expected = std::span(text->logits).subspan(token * rows, rows);
            CHECK(std::ranges::equal(std::span(logits).subspan(i * rows, rows), expected));
        }
    }
}

// Whether two tokens have the same place in the cache, which the scheduler excludes and no decoder checks.
bool writes_twice(const Built& built) {
    std::set<std::pair<std::uint32_t, std::size_t>> places;
    for (const Chunk& chunk : built.chunks) {
        if (chunk.token_end <= chunk.token_begin || chunk.token_end > built.ids.size()) return false;
        for (std::size_t token = chunk.token_begin; token < chunk.token_end; ++token) {
            const std::size_t position = chunk.position + token - chunk.token_begin;
            const std::size_t entry = chunk.block_begin + position / kTokensPerBlock;
            if (entry >= built.table.size()) return false;
            if (!places.emplace(built.table[entry], position % kTokensPerBlock).second) return true;
        }
    }
    return false;
}

// A number near the bounds that an iteration is checked for, or far beyond all of them.
std::size_t any_number(Choices& choices) {
    if (choices.one_in(4)) return ~std::size_t{0} - choices.below(64);
    return choices.below(2 * kMaxTokens);
}

void spoil(Choices& choices, Built& built) {
    constexpr std::size_t Chunk::*kFields[] = {&Chunk::token_begin, &Chunk::token_end,   &Chunk::position,
                                               &Chunk::text_tokens, &Chunk::block_begin, &Chunk::block_end,
                                               &Chunk::read_begin,  &Chunk::read_end};
    Chunk& chunk = built.chunks[choices.below(built.chunks.size())];
    switch (choices.below(5)) {
        case 0:
            built.ids[choices.below(built.ids.size())] = static_cast<std::uint32_t>(any_number(choices));
            break;
        case 1:
            built.table[choices.below(built.table.size())] = static_cast<std::uint32_t>(any_number(choices));
            break;
        case 2:
            built.reads.resize(choices.below(2 * kMaxTokens), any_number(choices));
            break;
        default:
            chunk.*kFields[choices.below(std::size(kFields))] = any_number(choices);
    }
}

void a_spoilt_iteration_is_computed_or_refused(Choices& choices, Decoder& decoder) {
    Engine& engine = *decoder.engine;
    std::vector<Text> texts = make_texts(choices, decoder.config);
    Built built;
    std::vector<std::pair<const Text*, std::size_t>> read;
    for (Text& text : texts) add_chunk(choices, text, built, read);
    Built whole;
    whole.add(texts[0], 0, texts[0].ids.size(), [](std::size_t) { return true; });
    const std::vector<float> before = whole.run(engine);
    for (std::size_t changes = choices.between(1, 3); changes > 0; --changes) spoil(choices, built);
    if (writes_twice(built)) return;
    try {
        built.run(engine);
    } catch (const EngineError&) {
        // The outcome that most changes should have.
    }
    CHECK(whole.run(engine) == before);
}

void run_bytes(std::span<const std::uint8_t> bytes) {
    Choices choices(bytes);
    Decoder& decoder = decoders()[choices.below(decoders().size())];
    if (choices.one_in(3))
        a_spoilt_iteration_is_computed_or_refused(choices, decoder);
    else
        texts_in_any_iterations_have_their_logits(choices, decoder);
}

}  // namespace

#ifdef ASSAY_LIBFUZZER
extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    run_bytes({data, size});
    return 0;
}
#else
int main(int count, char** arguments) {
    for (int i = 1; i < count; ++i) {
        std::ifstream file(arguments[i], std::ios::binary);
        const std::vector<char> bytes{std::istreambuf_iterator<char>(file), {}};
        run_bytes({reinterpret_cast<const std::uint8_t*>(bytes.data()), bytes.size()});
    }
    if (count > 1) return 0;
    const char* seeds = std::getenv("ASSAY_ITERATION_SEEDS");
    for (unsigned seed = 0; seed < (seeds == nullptr ? 2000u : std::stoul(seeds)); ++seed) {
        std::mt19937 generator(seed);
        std::vector<std::uint8_t> bytes(generator() % 512);
        for (std::uint8_t& byte : bytes) byte = static_cast<std::uint8_t>(generator());
        std::fprintf(stderr, "\rseed %u", seed);
        run_bytes(bytes);
    }
    std::fprintf(stderr, "\n");
}
#endif
