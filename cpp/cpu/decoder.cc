#include "decoder.h"

#include <omp.h>

#include <algorithm>
#include <optional>

#include "attention_block.h"
#include "batch.h"
#include "feed_forward.h"
#include "input_embedding.h"
#include "mixture_of_experts.h"
#include "output_head.h"
#include "residual_stream.h"

namespace assay::cpu {
namespace {

template <typename T>
class Decoder final : public Engine {
  public:
    Decoder(const ModelConfig& config, const RunLimits& limits, const Weights& weights)
        : config_(config),
          limits_({limits.max_num_tokens, config.vocab_size, limits.kv_blocks}),
          kernels_(kernels_for<T>(instruction_set())),
          batch_(config.attention.heads),
          embedding_(config, weights),
          stream_(config, limits, kernels_),
          attention_(config, limits, stream_.branches_add(), kernels_),
          feed_forward_(config, limits, stream_.branches_add(), kernels_),
          states_(room_for_rows(limits.max_num_tokens) *
                  std::max(config.hidden_size, config.attention.heads.q_width()) * sizeof(T)) {
        if (config.residual.parallel)
            side_states_ = Buffer(FeedForward<T>::kPanelRows * config.hidden_size * sizeof(T));
        if (config.feed_forward.experts.count > 0) experts_.emplace(config, limits, kernels_);
        if (limits.threads > 0) omp_set_num_threads(static_cast<int>(limits.threads));
        for (std::size_t layer = 0; layer < config.num_layers; ++layer)
            layers_.push_back(bind(LayerTensors(weights, layer), has_experts(layer)));
        head_ = make_head(limits, weights);
    }

    std::size_t head_rows() const override { return config_.head.rows; }

    void run(const Iteration& iteration, std::span<float> logits) override {
        check(iteration, limits_);
        if (logits.size() != iteration.reads.size() * head_rows())
            throw EngineError("an iteration has no room for its logits");
        batch_.plan(iteration);
        attention_.prepare(batch_);
        embedding_.run(iteration, stream_);
        for (std::size_t index = 0; index + 1 < layers_.size(); ++index) {
            attend(index, batch_.tiles());
            finish_layer(layers_[index], iteration.token_ids.size());
        }
        // After the last layer's keys and values only the rows that are read matter.
        attend(layers_.size() - 1, batch_.read_tiles());
        keep_reads();
        finish_layer(layers_.back(), batch_.reads().size());
        head_->run(batch_.reads().size(), stream_, states_.as<T>(), logits);
    }

  private:
    struct Layer {
        NormWeights input_norm;
        typename AttentionBlock<T>::Weights attention;
        NormWeights attention_post_norm;
        NormWeights feed_forward_norm;
        typename FeedForward<T>::Weights feed_forward;
        // In place of the feed-forward network.
        std::optional<typename MixtureOfExperts<T>::Weights> experts;
        NormWeights feed_forward_post_norm;
    };

    bool has_experts(std::size_t layer) const {
        return experts_ && std::ranges::find(config_.feed_forward.experts.layers, layer) !=
                               config_.feed_forward.experts.layers.end();
    }

    Layer bind(const LayerTensors& tensors, bool has_experts) {
        const std::size_t hidden = config_.hidden_size;
        const auto norm_if = [&](bool present, const std::string& name) {
            return present ? tensors.norm(name, hidden, config_.norms) : NormWeights{};
        };
        const bool pre_norms = config_.norms.pre_norms, post_norms = config_.norms.post_norms;
        return {norm_if(pre_norms, "input_norm"),
                attention_.bind(tensors, config_.norms.eps),
                norm_if(post_norms, "attention_post_norm"),
                norm_if(pre_norms, "post_norm"),
                has_experts ? typename FeedForward<T>::Weights{} : feed_forward_.bind(tensors),
                has_experts ? std::optional(experts_->bind(tensors)) : std::nullopt,
                norm_if(post_norms, "mlp_post_norm")};
    }

    std::unique_ptr<OutputHead<T>> make_head(const RunLimits& limits, const Weights& weights) const {
        const std::size_t bytes = config_.hidden_size * sizeof(float);
        const NormWeights norm{
            weights.find<float>("final_norm", bytes),
            config_.norms.layer_norm ? weights.find<float>("final_norm_bias", bytes) : nullptr,
            config_.norms.eps};
        if (config_.head.vocabulary)
            return std::make_unique<VocabularyHead<T>>(config_, limits, norm, weights, kernels_);
        return std::make_unique<ScoreHead<T>>(config_, norm, weights, kernels_);
    }

    // A layer up to the rows of attention, which are left in `states_`.
    void attend(std::size_t index, std::span<const TileSpan> tiles) {
        stream_.norm(layers_[index].input_norm, 0, batch_.places().size(), states_.as<T>());
        attention_.attend(index, layers_[index].attention, batch_, tiles, states_.as<T>());
    }

    // The rest of a layer, for the first `rows` rows.
    void finish_layer(const Layer& layer, std::size_t rows) {
        // Side by side, the network must read the stream before the attention's output is added.
        if (config_.residual.parallel) feed_forward(layer, rows, side_states_.as<T>());
        attention_.project(layer.attention, rows, states_.as<T>(), stream_.branch_output(0));
        stream_.add_branch(layer.attention_post_norm, 0, rows);
        if (config_.residual.parallel) return;
        if (layer.experts) return mix_experts(layer, rows);
        feed_forward(layer, rows, states_.as<T>());
    }

    // `states` is room for a panel of normed rows.
    void feed_forward(const Layer& layer, std::size_t rows, T* states) {
        constexpr std::size_t kPanelRows = FeedForward<T>::kPanelRows;
        for (std::size_t begin = 0; begin < rows; begin += kPanelRows) {
            const std::size_t panel = std::min(kPanelRows, rows - begin);
            stream_.norm(layer.feed_forward_norm, begin, panel, states);
            feed_forward_.run(layer.feed_forward, panel, states, stream_.branch_output(begin));
            stream_.add_branch(layer.feed_forward_post_norm, begin, panel);
        }
    }

    // All rows at once, so that each expert's matrices are read once.
    void mix_experts(const Layer& layer, std::size_t rows) {
        stream_.norm(layer.feed_forward_norm, 0, rows, states_.as<T>());
        if (!stream_.branches_add()) std::fill_n(stream_.branch_output(0), rows * config_.hidden_size, 0.0f);
        experts_->run(*layer.experts, rows, states_.as<T>(), stream_.branch_output(0));
        stream_.add_branch(layer.feed_forward_post_norm, 0, rows);
    }

    // Moves the rows that are read to the front.
    void keep_reads() {
        stream_.keep(batch_.reads());
        move_to_front(states_.as<T>(), config_.attention.heads.q_width(), batch_.reads());
    }

    const ModelConfig config_;
    const BatchLimits limits_;
    const Kernels<T>& kernels_;
    Batch batch_;
    InputEmbedding<T> embedding_;
    ResidualStream<T> stream_;
    AttentionBlock<T> attention_;
    FeedForward<T> feed_forward_;
    std::optional<MixtureOfExperts<T>> experts_;
    std::vector<Layer> layers_;
    std::unique_ptr<OutputHead<T>> head_;
    // [max_num_tokens, hidden or q_width]: what goes into a product.
    Buffer states_;
    // [a panel, hidden]: what goes into a feed-forward network beside the attention.
    Buffer side_states_;
};

}  // namespace

std::unique_ptr<Engine> make_decoder(const ModelConfig& config, const RunLimits& limits,
                                     const Weights& weights) {
    check(config, limits);
    if (computes_in_f32(config.dtype)) return std::make_unique<Decoder<float>>(config, limits, weights);
    return std::make_unique<Decoder<bf16>>(config, limits, weights);
}

}  // namespace assay::cpu
