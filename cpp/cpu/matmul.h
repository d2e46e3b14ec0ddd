// Matrix products by oneDNN, with weights packed once into the layout that it chooses.
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

// oneDNN's name, in lower case, for the instruction set that it compiles for here.
std::string instruction_set();

// Whether the processor has bfloat16 products.
bool supports_bf16();

// Whether the processor sums int8 products in 32 bits.
bool supports_int8();

// Rows that buffers of activations must have room for: a small product computes a few more than requested.
constexpr std::size_t room_for_rows(std::size_t rows) { return round_up(rows, 16); }

// Columns of a product that gives the logits of `tokens`. oneDNN's kernels for fewer columns than a block sum
// in another order; among whole blocks a column has the same bits whatever the others are. The builder pads
// matrices to it: `logit_rows` in src/engine/cpu/packing.rs.
constexpr std::size_t room_for_logits(std::size_t tokens) { return round_up(tokens, 16); }

// The product of activations with a packed matrix of [out, in]: y = x W^T (+ bias) (+ y).
//
// One Matmul serves every layer, since layers differ only in their weights. A row of the result has the same
// bits whatever the number of rows and its index among them.
class Matmul {
  public:
    struct Shape {
        Dtype dtype;        // of x and W: F32, Bf16 or Int8
        std::size_t out;    // columns of y
        std::size_t in;     // columns of x
        Dtype result;       // of y; Int32 for Int8
        bool bias = false;  // f32, [out]
        bool add = false;   // adds to y
        // The number of rows differs from call to call: it is rounded up, so that few products are compiled.
        bool any_rows = false;
        // Multiplies each column of y by a factor before it is rounded to `result`, which is then F32 or
        // Bf16. Int8 only, without a bias; and only if has_fast_kernel().
        bool scale_columns = false;
    };

    explicit Matmul(const Shape& shape);

    const Shape& shape() const { return shape_; }

    // Whether oneDNN computes the product block by block. It has slow kernels that do anything.
    bool has_fast_kernel() const { return has_fast_kernel_; }

    // Bytes of a packed matrix, a multiple of 64. The layout does not depend on what is done with the sums.
    std::size_t packed_bytes() const;

    // Packs a row-major [out, in] matrix.
    void pack(std::span<const std::byte> source, std::span<std::byte> packed);

    // x is [rows, in] and y [rows, out], both with room for room_for_rows(rows); rows of y beyond the last
    // may be overwritten. `columns` are the biases or the factors of the columns, null unless the shape has
    // them.
    void run(std::size_t rows, const void* x, const void* packed, const float* columns, void* y);

  private:
    struct Plan {
        std::size_t rows;
        dnnl::matmul::primitive_desc desc;
        dnnl::matmul primitive;
    };

    dnnl::matmul::primitive_desc describe(const Shape& shape, std::size_t rows,
                                          const dnnl::memory::desc& weights) const;
    const Plan& plan(std::size_t rows);
    void make_scratch(const Plan& plan, std::size_t threads);
    void execute(const Plan& plan, const void* x, const void* packed, const float* columns, void* y,
                 void* scratch) const;
    void run_panels(std::size_t rows, const void* x, const void* packed, const float* columns, void* y);
    void run_last_panel(const Plan& plan, std::size_t rows, const void* x, const void* packed,
                        const float* columns, void* y, void* scratch);

    Shape shape_;
    dnnl::engine engine_;
    dnnl::memory::desc weights_;
    bool has_fast_kernel_;
    // Whether oneDNN's kernel gives a row the same bits for any number of rows.
    bool independent_rows_;
    // Compiled products, most recently used first; compiling one takes about a millisecond.
    std::list<Plan> plans_;
    // One for each thread that runs panels, or a single one.
    std::vector<Buffer> scratch_;
    Buffer last_x_, last_y_;
};

}  // namespace assay::cpu
