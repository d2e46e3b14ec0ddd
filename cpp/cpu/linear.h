// Linear layers: products of activations with packed matrices, with quantization around int8 products.
#pragma once

#include <algorithm>

#include "kernels.h"
#include "matmul.h"

namespace assay::cpu {

// A layer's tensors. `scales`, [out], are null unless the layer is int8; `bias`, [out], is null if it has
// none.
struct LinearWeights {
    const void* packed;
    const float* scales;
    const float* bias;
};

// y = x W^T (+ bias) (+ y). A row of the result has the same bits in every batch.
//
// In int8 each row of x is scaled by its largest number, as each row of W was when the engine was built. The
// sums are integers, which no order of additions changes.
template <typename T>
class Linear {
  public:
    // The shape's `dtype` is that of the weights; x is always of T. With `scale_columns`,
    // run_without_row_scales() saves a pass over the result if it can.
    Linear(const Matmul::Shape& shape, const Kernels<T>& kernels)
        : shape_(shape), kernels_(&kernels), matmul_(product(shape)) {}

    std::size_t packed_bytes() const { return matmul_.packed_bytes(); }
    const Matmul::Shape& shape() const { return shape_; }

    // x is [rows, in] and y [rows, out], both with room for room_for_rows(rows); rows of y beyond the last
    // may be overwritten.
    void run(std::size_t rows, const T* x, const LinearWeights& weights, void* y) {
        if (shape_.dtype != Dtype::Int8) return matmul_.run(rows, x, weights.packed, weights.bias, y);
        const std::size_t width = shape_.out * size_of(shape_.result);
        for (std::size_t begin = 0; begin < rows; begin += kQuantizedRows) {
            const std::size_t panel = std::min(kQuantizedRows, rows - begin);
            run_quantized(panel, x + begin * shape_.in, weights, static_cast<std::byte*>(y) + begin * width);
        }
    }

    // As run(), but each row of y is yet to be multiplied by its scale. Returns the scales, [rows], valid
    // until the next call; null if the rows are complete.
    const float* run_without_row_scales(std::size_t rows, const T* x, const LinearWeights& weights, void* y) {
        if (!matmul_.shape().scale_columns) {
            run(rows, x, weights, y);
            return nullptr;
        }
        quantize(rows, x);
        matmul_.run(rows, quantized_.as(), weights.packed, weights.scales, y);
        return row_scales_.as<float>();
    }

  private:
    // Rows to quantize at once: their sums then stay in the processor's cache.
    static constexpr std::size_t kQuantizedRows = 256;

    static Matmul product(Matmul::Shape shape) {
        if (shape.dtype != Dtype::Int8) {
            shape.scale_columns = false;
            return Matmul(shape);
        }
        if (shape.scale_columns && !shape.bias) {
            Matmul matmul(shape);
            if (matmul.has_fast_kernel()) return matmul;
        }
        return Matmul({.dtype = shape.dtype,
                       .out = shape.out,
                       .in = shape.in,
                       .result = Dtype::Int32,
                       .any_rows = shape.any_rows});
    }

    // Fills `quantized_` and `row_scales_`.
    void quantize(std::size_t rows, const T* x) {
        const std::size_t room = room_for_rows(std::max(rows, kQuantizedRows));
        if (row_scales_.bytes() < room * sizeof(float)) {
            quantized_ = Buffer(room * shape_.in);
            row_scales_ = Buffer(room * sizeof(float));
        }
#pragma omp parallel for
        for (std::size_t row = 0; row < rows; ++row)
            row_scales_.as<float>()[row] = kernels_->quantize(x + row * shape_.in, shape_.in,
                                                              quantized_.as<std::int8_t>() + row * shape_.in);
    }

    void run_quantized(std::size_t rows, const T* x, const LinearWeights& weights, std::byte* y) {
        if (sums_.bytes() == 0)
            sums_ = Buffer(room_for_rows(kQuantizedRows) * shape_.out * sizeof(std::int32_t));
        quantize(rows, x);
        matmul_.run(rows, quantized_.as(), weights.packed, nullptr, sums_.as());
#pragma omp parallel for
        for (std::size_t row = 0; row < rows; ++row) {
            const Dequantized from{sums_.as<std::int32_t>() + row * shape_.out, row_scales_.as<float>()[row],
                                   weights.scales, weights.bias, shape_.out};
            std::byte* to = y + row * shape_.out * size_of(shape_.result);
            if (shape_.result == Dtype::F32)
                kernels_->dequantize(from, shape_.add, reinterpret_cast<float*>(to));
            else
                kernels_->dequantize_rounded(from, reinterpret_cast<T*>(to));
        }
    }

    Matmul::Shape shape_;
    const Kernels<T>* kernels_;
    Matmul matmul_;
    // [rows, in] int8, [rows], and [kQuantizedRows, out] int32.
    Buffer quantized_, row_scales_, sums_;
};

}  // namespace assay::cpu
