// What the first layer reads: the embeddings of tokens, and of their positions and segments.
#pragma once

#include <string>
#include <vector>

#include "residual_stream.h"
#include "weights.h"

namespace assay::cpu {

template <typename T>
class InputEmbedding {
  public:
    InputEmbedding(const ModelConfig& config, const Weights& weights)
        : scale_(config.embedding_scale),
          hidden_(config.hidden_size),
          positions_(config.positions),
          segments_(config.encoder ? config.encoder->segments : 0),
          separator_(config.encoder ? config.encoder->separator : 0),
          tokens_(weights.find<T>("embedding", config.vocab_size * hidden_ * sizeof(T))) {
        const std::size_t row = hidden_ * sizeof(float);
        if (positions_.rows > 0)
            position_rows_ = weights.find<float>("position_embedding", positions_.rows * row);
        if (segments_ > 0) segment_rows_ = weights.find<float>("segment_embedding", segments_ * row);
    }

    void run(const Iteration& iteration, ResidualStream<T>& stream) {
        stream.embed(iteration.token_ids, tokens_, scale_);
        if (position_rows_ == nullptr && segment_rows_ == nullptr) return;
        find_rows(iteration);
#pragma omp parallel for
        for (std::size_t i = 0; i < places_.size(); ++i) {
            if (position_rows_ != nullptr) add(position_rows_ + places_[i].position * hidden_, stream.row(i));
            if (segment_rows_ != nullptr) add(segment_rows_ + places_[i].segment * hidden_, stream.row(i));
        }
    }

  private:
    struct Place {
        std::size_t position;
        std::size_t segment;
    };

    void find_rows(const Iteration& iteration) {
        places_.clear();
        for (const Chunk& chunk : iteration.chunks) {
            std::size_t position = positions_.first + chunk.position, segment = 0;
            for (std::size_t token = chunk.token_begin; token < chunk.token_end; ++token) {
                const std::uint32_t id = iteration.token_ids[token];
                const bool padding = positions_.padding == id;
                places_.push_back({padding ? positions_.first - 1 : position, segment});
                if (!padding) ++position;
                if (segments_ > 0 && id == separator_) segment = 1;
            }
            if (positions_.rows > 0 && position > positions_.rows)
                throw EngineError("a text needs " + std::to_string(position) +
                                  " embeddings of positions, and the model has " +
                                  std::to_string(positions_.rows));
        }
    }

    void add(const float* from, float* to) const {
        for (std::size_t i = 0; i < hidden_; ++i) to[i] += from[i];
    }

    const float scale_;
    const std::size_t hidden_;
    const PositionsConfig positions_;
    const std::size_t segments_;
    const std::uint32_t separator_;
    const T* const tokens_;
    // [rows, hidden]; null: none.
    const float* position_rows_ = nullptr;
    const float* segment_rows_ = nullptr;
    std::vector<Place> places_;
};

}  // namespace assay::cpu
