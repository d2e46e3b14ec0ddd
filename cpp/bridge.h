// The thin layer that Rust sees: converts types, and lets every exception become an error.
#pragma once

#include <exception>
#include <memory>

#include "cpu/ceiling.h"
#include "cpu/decoder.h"
#include "engine.h"
#include "rust/cxx.h"

namespace rust::behavior {

// cxx knows std::exception only; nothing may fly past it.
template <typename Try, typename Fail>
static void trycatch(Try&& function, Fail&& fail) noexcept try {
    function();
} catch (const std::exception& error) {
    fail(error.what());
} catch (...) {
    fail("the C++ engine threw something that is no std::exception");
}

}  // namespace rust::behavior

namespace assay::bridge {

enum class DtypeView : std::uint8_t;
struct CpuConfig;
struct ChunkView;
struct TensorView;

// An engine behind types that cxx can pass.
class Handle {
  public:
    explicit Handle(std::unique_ptr<Engine> engine) : engine_(std::move(engine)) {}

    void run(rust::Slice<const std::uint32_t> token_ids, rust::Slice<const std::uint32_t> block_table,
             rust::Slice<const ChunkView> chunks, rust::Slice<const std::size_t> reads,
             rust::Slice<float> logits);

  private:
    std::unique_ptr<Engine> engine_;
    std::vector<Chunk> chunks_;
};

// Opens the CPU engine. The weights outlive it.
std::unique_ptr<Handle> open_cpu(const CpuConfig& config, rust::Slice<const TensorView> tensors,
                                 rust::Slice<const std::uint8_t> weights);

using cpu::Ceiling;

// oneDNN's products alone, for the shapes of a decoder. `threads` 0 means one for each core.
std::unique_ptr<Ceiling> open_ceiling(const CpuConfig& config, std::size_t rows);

rust::String onednn_version();
rust::String instruction_set();
bool supports_bf16();
bool supports_int8();
std::size_t packed_bytes(DtypeView dtype, std::size_t out, std::size_t in);
void pack(DtypeView dtype, std::size_t out, std::size_t in, rust::Slice<const std::uint8_t> source,
          rust::Slice<std::uint8_t> packed);

}  // namespace assay::bridge
