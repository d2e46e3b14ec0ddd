// Matrix products by oneDNN, with weights packed once into the layout that it picks.
#pragma once

#include <cstddef>
#include <dnnl.hpp>
#include <list>
#include <span>
#include <string>
#include <vector>

#include "buffer.h"
#include "types.h"

namespace assay::cpu {

// oneDNN's version, for example "2.6.3".
std::string onednn_version();

// Instruction set that oneDNN compiles for here, as it names it, in lower case.
std::string instruction_set();

// Whether bfloat16 products are done by the processor.
bool supports_bf16();

// Whether int8 products are summed in 32 bits by the processor.
bool supports_int8();

// Rows that buffers of activations have room for: a small product computes a few rows more than asked.
constexpr std::size_t room_for_rows(std::size_t rows) { return round_up(rows, 16); }

// The product of activations with a packed matrix of [out, in]: y = x W^T (+ bias) (+ y).
//
// One Matmul serves every layer, since layers differ in their weights only. A row of the result has the
// same bits whatever the number of rows and wherever it stands among them.
class Matmul {
  public:
    struct Shape {
        Dtype dtype;        // of x and W: F32, BF16 or S8
        std::size_t out;    // columns of y
        std::size_t in;     // columns of x
        Dtype result;       // of y; S32 of S8
        bool bias = false;  // f32, [out]
        bool add = false;   // adds to what y holds
    };

    explicit Matmul(const Shape& shape);

    // Bytes of a packed matrix, a multiple of 64.
    std::size_t packed_bytes() const;

    // Packs a row-major [out, in] matrix.
    void pack(std::span<const std::byte> source, std::span<std::byte> packed);

    // x is [rows, in], y [rows, out], both with room_for_rows(rows); what y holds in rows beyond the last
    // is lost. `bias` is null unless the shape has one.
    void run(std::size_t rows, const void* x, const void* packed, const float* bias, void* y);

  private:
    struct Plan {
        std::size_t rows;
        dnnl::matmul::primitive_desc desc;
        dnnl::matmul primitive;
    };

    dnnl::matmul::primitive_desc describe(std::size_t rows, const dnnl::memory::desc& weights) const;
    const Plan& plan(std::size_t rows);
    void make_scratch(const Plan& plan, std::size_t threads);
    void execute(const Plan& plan, const void* x, const void* packed, const float* bias, void* y,
                 void* scratch) const;
    void run_panels(std::size_t rows, const void* x, const void* packed, const float* bias, void* y);
    void run_last_panel(const Plan& plan, std::size_t rows, const void* x, const void* packed,
                        const float* bias, void* y, void* scratch);

    Shape shape_;
    dnnl::engine engine_;
    dnnl::memory::desc weights_;
    // Whether oneDNN's kernel gives a row the same bits for any number of rows.
    bool independent_rows_;
    // Most recently used first: compiling one takes about a millisecond.
    std::list<Plan> plans_;
    // One for each thread that runs panels, else one.
    std::vector<Buffer> scratch_;
    Buffer last_x_, last_y_;
};

}  // namespace assay::cpu
