// The residual stream: what every branch of a layer reads, normed, and adds its output to.
#pragma once

#include <algorithm>

#include "buffer.h"
#include "config.h"
#include "matmul.h"

namespace assay::cpu {

// Moves the chosen ones of the rows of `width` numbers, ascending, to the front.
template <typename U>
void move_to_front(U* rows, std::size_t width, std::span<const std::size_t> chosen) {
    for (std::size_t i = 0; i < chosen.size(); ++i)
        if (chosen[i] != i) std::copy_n(rows + chosen[i] * width, width, rows + i * width);
}

// [rows, hidden], f32.
template <typename T>
class ResidualStream {
  public:
    ResidualStream(const ModelConfig& config, const RunLimits& limits, const Kernels<T>& kernels)
        : hidden_(config.hidden_size),
          post_norms_(config.norms.post_norms),
          scale_(config.residual.scale),
          kernels_(kernels),
          stream_(room_for_rows(limits.max_num_tokens) * hidden_ * sizeof(float)),
          outputs_(branches_add() ? 0 : stream_.bytes()) {}

    float* row(std::size_t row) const { return stream_.template as<float>() + row * hidden_; }

    void embed(std::span<const std::uint32_t> ids, const T* embedding, float scale) {
#pragma omp parallel for
        for (std::size_t i = 0; i < ids.size(); ++i)
            kernels_.embed(embedding + ids[i] * hidden_, scale, hidden_, row(i));
    }

    // Writes the norms of `rows` rows from `begin` on, or the rows themselves without a norm, to `normed`,
    // [rows, hidden].
    void norm(const NormWeights& weights, std::size_t begin, std::size_t rows, T* normed) const {
#pragma omp parallel for
        for (std::size_t i = 0; i < rows; ++i)
            kernels_.norm(row(begin + i), weights, hidden_, normed + i * hidden_);
    }

    // Whether a branch's last product adds to what is in `branch_output`.
    bool branches_add() const { return !post_norms_ && scale_ == 1.0f; }

    // Where a branch's last product goes: onto the stream itself, or to where `add_branch` norms it.
    float* branch_output(std::size_t begin) const {
        return branches_add() ? row(begin) : outputs_.template as<float>() + begin * hidden_;
    }

    // Adds the norms of a branch's output to the stream, if the model norms it; otherwise it is there
    // already.
    void add_branch(const NormWeights& weights, std::size_t begin, std::size_t rows) {
        if (branches_add()) return;
#pragma omp parallel for
        for (std::size_t i = begin; i < begin + rows; ++i) {
            if (post_norms_)
                kernels_.add_normed(branch_output(i), weights, hidden_, row(i));
            else
                add_scaled(branch_output(i), row(i));
        }
    }

    // Puts norms in the place of `rows` rows from `begin` on, if there is a norm.
    void norm_in_place(const NormWeights& weights, std::size_t begin, std::size_t rows) const {
        if (weights.weight == nullptr) return;
#pragma omp parallel for
        for (std::size_t i = begin; i < begin + rows; ++i)
            kernels_.norm_f32(row(i), weights, hidden_, row(i));
    }

    // Moves the chosen rows, ascending, to the front.
    void keep(std::span<const std::size_t> rows) { move_to_front(row(0), hidden_, rows); }

  private:
    void add_scaled(const float* output, float* sum) const {
        for (std::size_t i = 0; i < hidden_; ++i) sum[i] += scale_ * output[i];
    }

    const std::size_t hidden_;
    const bool post_norms_;
    const float scale_;
    const Kernels<T>& kernels_;
    Buffer stream_, outputs_;
};

}  // namespace assay::cpu
