#include "encoder.h"

#include <omp.h>

#include <algorithm>

#include "attention_block.h"
#include "batch.h"
#include "feed_forward.h"
#include "input_embedding.h"
#include "residual_stream.h"

namespace assay::cpu {
namespace {

template <typename T>
class Encoder final : public Engine {
  public:
    Encoder(const ModelConfig& config, const RunLimits& limits, const Weights& weights)
        : config_(config),
          hidden_(config.hidden_size),
          limits_({limits.max_num_tokens, config.vocab_size, limits.kv_blocks}),
          kernels_(kernels_for<T>(instruction_set())),
          batch_(config.attention.heads),
          embedding_(config, weights),
          stream_(config, limits, kernels_),
          attention_(config, limits, true, kernels_),
          feed_forward_(config, limits, true, kernels_),
          embedding_norm_(norm(weights, "embedding_norm")),
          final_norm_(config.encoder->final_norm ? norm(weights, "final_norm") : NormWeights{}),
          head_(weights.find<float>("head", config.head.rows * hidden_ * sizeof(float))),
          states_(room_for_rows(limits.max_num_tokens) * std::max(hidden_, config.attention.heads.q_width()) *
                  sizeof(T)) {
        if (limits.threads > 0) omp_set_num_threads(static_cast<int>(limits.threads));
        if (config.encoder->relative.span > 0)
            attention_.use(RelativePositions<T>(config, limits, weights, kernels_));
        for (std::size_t layer = 0; layer < config.num_layers; ++layer)
            layers_.push_back(bind(LayerTensors(weights, layer), layer));
    }

    std::size_t head_rows() const override { return config_.head.rows; }

    void run(const Iteration& iteration, std::span<float> logits) override {
        check(iteration, limits_);
        check_whole(iteration);
        if (logits.size() != iteration.reads.size() * head_rows())
            throw EngineError("an iteration has no room for its logits");
        batch_.plan(iteration);
        attention_.prepare(batch_);
        embedding_.run(iteration, stream_);
        const std::size_t tokens = iteration.token_ids.size(), reads = batch_.reads().size();
        stream_.norm_in_place(embedding_norm_, 0, tokens);
        for (std::size_t index = 0; index + 1 < layers_.size(); ++index) {
            attend(index, batch_.tiles());
            finish_layer(layers_[index], tokens);
        }
        const bool mean = config_.encoder->mean;
        attend(layers_.size() - 1, mean ? batch_.tiles() : batch_.read_tiles());
        if (!mean) keep_reads();
        finish_layer(layers_.back(), mean ? tokens : reads);
#pragma omp parallel for
        for (std::size_t read = 0; read < reads; ++read) {
            std::vector<float> state(hidden_);
            if (mean)
                average(chunk_of(batch_.reads()[read]), state);
            else
                kernels_.norm_f32(stream_.row(read), final_norm_, hidden_, state.data());
            kernels_.head(head_, state.data(), head_rows(), hidden_, logits.data() + read * head_rows());
        }
    }

  private:
    struct Layer {
        NormWeights input_norm;
        typename AttentionBlock<T>::Weights attention;
        NormWeights attention_sum_norm;
        NormWeights feed_forward_norm;
        typename FeedForward<T>::Weights feed_forward;
        NormWeights feed_forward_sum_norm;
    };

    NormWeights norm(const Weights& weights, const std::string& name) const {
        const std::size_t bytes = hidden_ * sizeof(float);
        return {weights.find<float>(name, bytes),
                config_.norms.layer_norm ? weights.find<float>(name + "_bias", bytes) : nullptr,
                config_.norms.eps};
    }

    Layer bind(const LayerTensors& tensors, std::size_t layer) {
        const auto norm_if = [&](bool present, const std::string& name) {
            return present ? tensors.norm(name, hidden_, config_.norms) : NormWeights{};
        };
        const bool pre_norms = config_.norms.pre_norms, sum_norms = config_.norms.sum_norms;
        // The embeddings are normed already.
        return {norm_if(pre_norms && layer > 0, "input_norm"),
                attention_.bind(tensors, config_.norms.eps),
                norm_if(sum_norms, "attention_sum_norm"),
                norm_if(pre_norms, "post_norm"),
                feed_forward_.bind(tensors),
                norm_if(sum_norms, "mlp_sum_norm")};
    }

    static void check_whole(const Iteration& iteration) {
        for (const Chunk& chunk : iteration.chunks)
            if (chunk.position != 0 || chunk.token_end - chunk.token_begin != chunk.text_tokens)
                throw EngineError("an iteration has a part of a text, which an encoder reads as a whole");
    }

    // A layer up to the rows of attention, which are left in `states_`.
    void attend(std::size_t index, std::span<const TileSpan> tiles) {
        stream_.norm(layers_[index].input_norm, 0, batch_.places().size(), states_.as<T>());
        attention_.attend(index, layers_[index].attention, batch_, tiles, states_.as<T>());
    }

    // The rest of a layer, for the first `rows` rows.
    void finish_layer(const Layer& layer, std::size_t rows) {
        attention_.project(layer.attention, rows, states_.as<T>(), stream_.row(0));
        stream_.norm_in_place(layer.attention_sum_norm, 0, rows);
        constexpr std::size_t kPanelRows = FeedForward<T>::kPanelRows;
        for (std::size_t begin = 0; begin < rows; begin += kPanelRows) {
            const std::size_t panel = std::min(kPanelRows, rows - begin);
            stream_.norm(layer.feed_forward_norm, begin, panel, states_.as<T>());
            feed_forward_.run(layer.feed_forward, panel, states_.as<T>(), stream_.row(begin));
        }
        stream_.norm_in_place(layer.feed_forward_sum_norm, 0, rows);
    }

    // Moves the rows that are read to the front.
    void keep_reads() {
        stream_.keep(batch_.reads());
        move_to_front(states_.as<T>(), config_.attention.heads.q_width(), batch_.reads());
    }

    const Chunk& chunk_of(std::size_t row) const { return batch_.chunks()[batch_.places()[row].chunk]; }

    // The mean of a text's last states.
    void average(const Chunk& text, std::vector<float>& mean) const {
        std::vector<float> state(hidden_);
        for (std::size_t row = text.token_begin; row < text.token_end; ++row) {
            kernels_.norm_f32(stream_.row(row), final_norm_, hidden_, state.data());
            for (std::size_t i = 0; i < hidden_; ++i) mean[i] += state[i];
        }
        for (float& value : mean) value /= static_cast<float>(text.text_tokens);
    }

    const ModelConfig config_;
    const std::size_t hidden_;
    const BatchLimits limits_;
    const Kernels<T>& kernels_;
    Batch batch_;
    InputEmbedding<T> embedding_;
    ResidualStream<T> stream_;
    AttentionBlock<T> attention_;
    FeedForward<T> feed_forward_;
    const NormWeights embedding_norm_, final_norm_;
    // [head rows, hidden].
    const float* const head_;
    std::vector<Layer> layers_;
    // [max_num_tokens, hidden or q_width]: what goes into a product.
    Buffer states_;
};

}  // namespace

std::unique_ptr<Engine> make_encoder(const ModelConfig& config, const RunLimits& limits,
                                     const Weights& weights) {
    check(config, limits);
    if (computes_in_f32(config.dtype)) return std::make_unique<Encoder<float>>(config, limits, weights);
    return std::make_unique<Encoder<bf16>>(config, limits, weights);
}

}  // namespace assay::cpu
