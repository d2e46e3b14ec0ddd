// The speed of the decoder and of its matrix products alone, by processor time.
//
//   decoder_bench DTYPE [TEXTS TOKENS THREADS LAYERS MODEL]
//
// The layers have the sizes of MODEL, see model_shapes.h, and random weights. For each line of input it runs
// one iteration of TEXTS texts and prints how many tokens the decoder, and its products alone, computed in a
// second of processor time; which share of the decoder's processor time one thread works alone, if there are
// two or more; and how many times the threads of the team waited for each other. tools/compare_onednn.py
// alternates between two builds; tools/bench_families.py goes through the models.
#include <dlfcn.h>
#include <unistd.h>

#include <cstdio>
#include <ctime>
#include <fstream>
#include <iostream>
#include <string>

#include "bench/model_shapes.h"
#include "cpu/decoder.h"
#include "cpu/roofline.h"
#include "tests/random_decoder.h"

using namespace assay;
using namespace assay::cpu;

namespace {

double seconds(clockid_t clock) {
    timespec time;
    clock_gettime(clock, &time);
    return static_cast<double>(time.tv_sec) + static_cast<double>(time.tv_nsec) * 1e-9;
}

// What the main thread did together with others.
struct Team {
    double seconds = 0;
    std::size_t regions = 0;
} team;

}  // namespace

// Takes the place of GCC's function for a parallel region, also in oneDNN, and calls it.
extern "C" void GOMP_parallel(void (*work)(void*), void* data, unsigned threads, unsigned flags) {
    static const auto real = reinterpret_cast<decltype(&GOMP_parallel)>(dlsym(RTLD_NEXT, "GOMP_parallel"));
    const double start = seconds(CLOCK_THREAD_CPUTIME_ID);
    real(work, data, threads, flags);
    team.seconds += seconds(CLOCK_THREAD_CPUTIME_ID) - start;
    ++team.regions;
}

namespace {

// Memory of this process, in bytes.
std::size_t resident() {
    std::size_t size = 0, pages = 0;
    std::ifstream("/proc/self/statm") >> size >> pages;
    return pages * static_cast<std::size_t>(sysconf(_SC_PAGESIZE));
}

// Texts of equal lengths, none of which shares anything with another.
struct Texts {
    std::vector<std::uint32_t> ids, table;
    std::vector<Chunk> chunks;
    std::vector<std::size_t> reads;

    Texts(std::size_t texts, std::size_t tokens) : reads(texts, tokens - 1) {
        const std::size_t blocks = (tokens + kTokensPerBlock - 1) / kTokensPerBlock;
        for (std::size_t i = 0; i < texts * tokens; ++i)
            ids.push_back(static_cast<std::uint32_t>(i * 7 % 1024));
        for (std::size_t i = 0; i < texts * blocks; ++i) table.push_back(static_cast<std::uint32_t>(i));
        for (std::size_t i = 0; i < texts; ++i)
            chunks.push_back(
                {i * tokens, (i + 1) * tokens, 0, tokens, i * blocks, (i + 1) * blocks, i, i + 1});
    }
};

template <typename Action>
double seconds_of(Action action) {
    const double start = seconds(CLOCK_PROCESS_CPUTIME_ID);
    action();
    return seconds(CLOCK_PROCESS_CPUTIME_ID) - start;
}

Dtype parse(const std::string& name) {
    if (name == "f32") return Dtype::F32;
    if (name == "bf16") return Dtype::Bf16;
    if (name == "int8") return Dtype::Int8;
    throw EngineError("`" + name + "` is not a data type; choose f32, bf16 or int8");
}

void measure(const std::string& dtype, std::size_t texts, std::size_t tokens, std::size_t threads,
             std::size_t layers, const std::string& name) {
    const auto& shapes = bench::model_shapes();
    const auto shape = std::ranges::find_if(shapes, [&](const auto& known) { return name == known.name; });
    if (shape == shapes.end()) throw EngineError("`" + name + "` is not in model_shapes.h");
    const ModelConfig config = bench::config_of(*shape, parse(dtype), layers);
    const test::RandomDecoder model(config);
    const Texts batch(texts, tokens);
    if (layers < 2) throw EngineError("name at least 2 layers");
    const std::size_t before = resident();
    const auto engine = make_decoder(config, {threads, texts * tokens, batch.table.size()}, model.weights());
    std::vector<float> logits(texts);
    const auto iteration = [&] { engine->run({batch.ids, batch.table, batch.chunks, batch.reads}, logits); };
    iteration();
    const std::size_t beside = resident() - before;
    Roofline roofline(config.dtype, products(config, texts * tokens, texts), threads);
    roofline.seconds();
    std::cout << "oneDNN " << onednn_version() << ' ' << instruction_set() << " beside-weights " << beside
              << " weights " << model.layer_bytes() * shape->layers / layers << std::endl;
    const auto count = static_cast<double>(texts * tokens);
    for (std::string line; std::getline(std::cin, line);) {
        team = {};
        const double start = seconds(CLOCK_THREAD_CPUTIME_ID);
        const double decoder = seconds_of(iteration);
        const double alone = seconds(CLOCK_THREAD_CPUTIME_ID) - start - team.seconds;
        const std::size_t regions = team.regions;
        std::cout << "decoder " << count / decoder << " products "
                  << count / seconds_of([&] { roofline.seconds(); }) << " one-thread " << alone / decoder
                  << " regions " << regions << std::endl;
    }
}

}  // namespace

int main(int argc, char** argv) {
    const auto number = [&](int index, std::size_t otherwise) {
        return argc > index ? std::stoul(argv[index]) : otherwise;
    };
    try {
        measure(argc > 1 ? argv[1] : "bf16", number(2, 8), number(3, 256), number(4, 1), number(5, 4),
                argc > 6 ? argv[6] : "qwen2");
    } catch (const std::exception& error) {
        std::fprintf(stderr, "decoder_bench: %s\n", error.what());
        return 1;
    }
}
