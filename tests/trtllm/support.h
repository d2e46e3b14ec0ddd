// What tests of cpp/trtllm/executor.h share.
#pragma once

#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <functional>

#include "trtllm/executor.h"

namespace assay::trtllm {

using Milliseconds = std::chrono::milliseconds;

inline void check(bool holds, const char* what, const char* file, int line) {
    if (holds) return;
    std::fprintf(stderr, "%s:%d: %s\n", file, line, what);
    std::_Exit(1);
}
#define CHECK(condition) check((condition), #condition, __FILE__, __LINE__)

// An engine directory that tells the stand-in what to do.
class Directory {
  public:
    explicit Directory(const std::string& script) {
        std::string name = (std::filesystem::temp_directory_path() / "assay-trtllm-XXXXXX").string();
        CHECK(mkdtemp(name.data()) != nullptr);
        path_ = name;
        std::ofstream(path_ / "stand-in.conf") << script;
    }
    ~Directory() { std::filesystem::remove_all(path_); }

    const std::filesystem::path& path() const { return path_; }

    Config config() const { return config_of(path_); }

    static Config config_of(const std::filesystem::path& path) {
        return {.directory = path,
                .head_rows = 5,
                .max_batch_size = 16,
                .max_num_tokens = 1024,
                .max_queue_size = 4096,
                .kv_cache_tokens = std::nullopt,
                .kv_cache_fraction = 0.9f,
                .kv_cache_host_bytes = 0,
                .block_reuse = true,
                .chunked_context = true,
                .generates = true,
                .attention_windows = {},
                .ranks = 1,
                .processes = Processes::Leader,
                .worker = {}};
    }

  private:
    std::filesystem::path path_;
};

inline const std::vector<std::uint32_t> kTokens = {3, 1, 4, 1, 5};

inline Sequence scored(std::uint64_t id) {
    return {.id = id,
            .tokens = kTokens,
            .max_tokens = 0,
            .stop = {},
            .sampling = {},
            .bias = {},
            .logits = false,
            .priority = 0.5f};
}

inline std::vector<Answer> await_all(Executor& executor) {
    std::vector<Answer> all;
    while (executor.in_flight() > 0)
        for (Answer& answer : executor.await(Milliseconds(1000))) all.push_back(std::move(answer));
    return all;
}

inline std::string error_of(const std::function<void()>& function) {
    try {
        function();
    } catch (const std::exception& error) {
        return error.what();
    }
    return {};
}

inline bool contains(const std::string& text, const char* part) {
    return text.find(part) != std::string::npos;
}

}  // namespace assay::trtllm
