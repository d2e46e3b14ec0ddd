// The CPU engine as Rust sees it.
#pragma once

#include <memory>
#include <vector>

#include "cpu/roofline.h"
#include "cpu/thread_places.h"
#include "rust_bridge.h"

namespace assay::bridge {

enum class DtypeView : std::uint8_t;
struct ChunkView;
struct CpuLimits;
struct CpuModel;
struct TensorView;

class CpuEngine {
  public:
    CpuEngine(std::unique_ptr<Engine> engine, cpu::ThreadPlaces places)
        : engine_(std::move(engine)), places_(std::move(places)) {}

    void run(rust::Slice<const std::uint32_t> token_ids, rust::Slice<const std::uint32_t> block_table,
             rust::Slice<const ChunkView> chunks, rust::Slice<const std::size_t> reads,
             rust::Slice<float> logits);

  private:
    std::unique_ptr<Engine> engine_;
    cpu::ThreadPlaces places_;
    std::vector<Chunk> chunks_;
};

// The weights must outlive the engine.
std::unique_ptr<CpuEngine> open_cpu(const CpuModel& model, const CpuLimits& limits,
                                    rust::Slice<const TensorView> tensors,
                                    rust::Slice<const std::uint8_t> weights);

// Throws EngineError if the engine cannot compute such a model.
void check_cpu(const CpuModel& model);

using cpu::Roofline;

std::unique_ptr<Roofline> open_roofline(const CpuModel& model, std::size_t threads, std::size_t rows);

std::size_t packed_bytes(DtypeView dtype, std::size_t out, std::size_t in);
void pack(DtypeView dtype, std::size_t out, std::size_t in, rust::Slice<const std::uint8_t> source,
          rust::Slice<std::uint8_t> packed);

}  // namespace assay::bridge
