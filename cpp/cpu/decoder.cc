#include "decoder.h"

#include <omp.h>

#include <algorithm>
#include <cmath>
#include <optional>

#include "buffer.h"
#include "kv_cache.h"
#include "linear.h"

namespace assay::cpu {
namespace {

// Rows of the feed-forward network computed at once: its buffers stay in the cache.
constexpr std::size_t kPanelRows = 512;
// Rows whose logits of the vocabulary are computed at once.
constexpr std::size_t kLogitRows = 32;

struct Layer {
    NormWeights input_norm;
    LinearWeights qkv;
    LinearWeights output;
    NormWeights post_norm;
    LinearWeights gate_up;
    LinearWeights down;
    // Null where there are none.
    NormWeights query_norm;
    NormWeights key_norm;
    NormWeights attention_post_norm;
    NormWeights mlp_post_norm;
};

// Some queries of one chunk: adjacent tokens and heads that share a key-value head.
struct TileSpan {
    const Chunk* chunk;
    std::size_t token;  // within the chunk
    std::size_t tokens;
    std::size_t head;
    std::size_t heads;
};

void check(const ModelConfig& config, const RunLimits& limits) {
    const HeadShape& heads = config.heads;
    const auto refuse = [](const std::string& why) { throw EngineError("the CPU engine " + why); };
    if (heads.head_dim % 8 != 0 || heads.head_dim < 8 || heads.head_dim > kMaxHeadDim)
        refuse("takes heads of a multiple of 8 from 8 to 256, not of " + std::to_string(heads.head_dim));
    if (heads.kv_heads == 0 || heads.heads % heads.kv_heads != 0)
        refuse("takes query heads in multiples of key-value heads, not " + std::to_string(heads.heads) +
               " to " + std::to_string(heads.kv_heads));
    for (const Rope* rope : {&config.rope, &config.window_rope})
        if (rope->inverse_frequencies.empty() || rope->inverse_frequencies.size() > heads.head_dim / 2)
            refuse("takes at most one rotary frequency for each pair of a head's numbers");
    if (config.windows.size() != config.num_layers) refuse("takes one window for each layer");
    if (config.num_layers == 0 || config.head_rows == 0 || config.vocab_size == 0)
        refuse("takes no model without layers, head or vocabulary");
    if (limits.max_num_tokens == 0 || limits.kv_blocks == 0) refuse("needs room for at least one token");
}

template <typename T>
constexpr Dtype kDtype = sizeof(T) == 4 ? Dtype::F32 : Dtype::BF16;

template <typename T>
class Decoder final : public Engine {
  public:
    Decoder(const ModelConfig& config, const RunLimits& limits, const Weights& weights)
        : config_(config),
          heads_(config.heads),
          max_num_tokens_(limits.max_num_tokens),
          kernels_(kernels_for<T>(instruction_set())),
          qkv_({config.dtype, heads_.qkv_width(), config.hidden_size, Dtype::F32, config.qkv_bias, false},
               kernels_),
          output_({config.dtype, config.hidden_size, heads_.q_width(), Dtype::F32, config.output_bias,
                   !config.post_norms},
                  kernels_),
          gate_up_({config.dtype, gate_up_width(), config.hidden_size, kDtype<T>, config.mlp_bias, false},
                   kernels_),
          down_({config.dtype, config.hidden_size, config.intermediate_size, Dtype::F32, config.mlp_bias,
                 !config.post_norms},
                kernels_),
          cache_(heads_, config.num_layers, limits.kv_blocks),
          residual_(room_for_rows(max_num_tokens_) * config.hidden_size * sizeof(float)),
          normed_(room_for_rows(max_num_tokens_) * std::max(config.hidden_size, heads_.q_width()) *
                  sizeof(T)),
          projected_(room_for_rows(max_num_tokens_) * heads_.qkv_width() * sizeof(float)),
          added_(config.post_norms ? room_for_rows(max_num_tokens_) * config.hidden_size * sizeof(float) : 0),
          gates_(panel_rows() * gate_up_width() * sizeof(T)),
          activated_(panel_rows() * config.intermediate_size * sizeof(T)),
          angles_(max_num_tokens_ * heads_.head_dim * sizeof(float)),
          window_angles_(max_num_tokens_ * heads_.head_dim * sizeof(float)) {
        if (limits.threads > 0) omp_set_num_threads(static_cast<int>(limits.threads));
        if (config.lm_head) {
            lm_head_.emplace(
                Matmul::Shape{kDtype<T>, config.head_rows, config.hidden_size, Dtype::F32, false, false},
                kernels_);
            predicted_ = Buffer(room_for_rows(std::min(kLogitRows, max_num_tokens_)) * config.head_rows *
                                sizeof(float));
        }
        bind(weights);
    }

    std::size_t head_rows() const override { return config_.head_rows; }

    void run(const Iteration& iteration, std::span<float> logits) override {
        validate(iteration, logits);
        plan(iteration);
        embed(iteration.token_ids);
        std::size_t rows = iteration.token_ids.size();
        for (std::size_t index = 0; index < layers_.size(); ++index) {
            const Layer& layer = layers_[index];
            const bool last = index + 1 == layers_.size();
            norm(layer.input_norm, 0, rows);
            qkv_.run(rows, normed_.as<T>(), layer.qkv, projected_.as());
            rotate_and_store(index, rows);
            attend(index, iteration, last ? last_tiles_ : tiles_);
            if (last) rows = gather();
            output_.run(rows, normed_.as<T>(), layer.output, sums(0));
            add(layer.attention_post_norm, 0, rows);
            feed_forward(layer, rows);
        }
        if (lm_head_)
            predict(rows, logits);
        else
            score(rows, logits);
    }

  private:
    std::size_t panel_rows() const { return std::min(kPanelRows, room_for_rows(max_num_tokens_)); }
    std::size_t gate_up_width() const {
        return (config_.activation == Activation::Relu2 ? 1 : 2) * config_.intermediate_size;
    }
    // Where the product that ends attention or feed-forward network goes: onto the residual stream, or to
    // where it is normed first.
    float* sums(std::size_t row) const {
        return config_.post_norms ? added_.as<float>() + row * config_.hidden_size : residual(row);
    }
    float* residual(std::size_t row) const { return residual_.as<float>() + row * config_.hidden_size; }

    void bind(const Weights& weights) {
        const std::size_t hidden = config_.hidden_size;
        const auto floats = [&](const std::string& name, std::size_t n) {
            return weights.find<float>(name, n * sizeof(float));
        };
        embedding_ = weights.find<T>("embedding", config_.vocab_size * hidden * sizeof(T));
        for (std::size_t i = 0; i < config_.num_layers; ++i) {
            const std::string at = "layers." + std::to_string(i) + ".";
            const auto bias = [&](bool has, const std::string& name, std::size_t n) {
                return has ? floats(at + name, n) : nullptr;
            };
            const auto norm = [&](bool has, const std::string& name, std::size_t n) {
                return NormWeights{bias(has, name, n), bias(has && config_.layer_norm, name + "_bias", n),
                                   config_.norm_eps};
            };
            const auto linear = [&](const std::string& name, const Linear<T>& layer) {
                const Matmul::Shape& shape = layer.shape();
                return LinearWeights{weights.find<std::byte>(at + name, layer.packed_bytes()),
                                     bias(shape.dtype == Dtype::S8, name + "_scale", shape.out),
                                     bias(shape.bias, name + "_bias", shape.out)};
            };
            layers_.push_back({
                norm(true, "input_norm", hidden),
                linear("qkv", qkv_),
                linear("output", output_),
                norm(true, "post_norm", hidden),
                linear("gate_up", gate_up_),
                linear("down", down_),
                {bias(config_.qk_norm, "query_norm", heads_.head_dim), nullptr, config_.norm_eps},
                {bias(config_.qk_norm, "key_norm", heads_.head_dim), nullptr, config_.norm_eps},
                norm(config_.post_norms, "attention_post_norm", hidden),
                norm(config_.post_norms, "mlp_post_norm", hidden),
            });
        }
        final_norm_ = {floats("final_norm", hidden),
                       config_.layer_norm ? floats("final_norm_bias", hidden) : nullptr, config_.norm_eps};
        if (lm_head_)
            lm_head_weights_ = {weights.find<std::byte>("lm_head", lm_head_->packed_bytes()), nullptr,
                                nullptr};
        else
            head_ = floats("head", config_.head_rows * hidden);
    }

    void validate(const Iteration& iteration, std::span<float> logits) const {
        const auto refuse = [](const std::string& why) { throw EngineError("an iteration " + why); };
        const std::size_t tokens = iteration.token_ids.size();
        if (tokens > max_num_tokens_)
            refuse("has " + std::to_string(tokens) + " tokens, more than " + std::to_string(max_num_tokens_));
        for (const std::uint32_t id : iteration.token_ids)
            if (id >= config_.vocab_size)
                refuse("has token id " + std::to_string(id) + ", the vocabulary " +
                       std::to_string(config_.vocab_size));
        for (const std::uint32_t block : iteration.block_table)
            if (block >= cache_.blocks())
                refuse("names KV block " + std::to_string(block) + " of " + std::to_string(cache_.blocks()));
        std::size_t next = 0, next_read = 0;
        for (const Chunk& chunk : iteration.chunks) {
            if (chunk.token_begin != next || chunk.token_end <= chunk.token_begin || chunk.token_end > tokens)
                refuse("has chunks that do not lie one behind the other");
            next = chunk.token_end;
            if (chunk.read_begin != next_read || chunk.read_end < next_read ||
                chunk.read_end > iteration.reads.size())
                refuse("has reads that do not lie one behind the other");
            next_read = chunk.read_end;
            for (std::size_t read = chunk.read_begin; read < chunk.read_end; ++read)
                if (iteration.reads[read] >= chunk.token_end - chunk.token_begin ||
                    (read > chunk.read_begin && iteration.reads[read] <= iteration.reads[read - 1]))
                    refuse("reads places outside a chunk, or not in order");
            if (chunk.block_end > iteration.block_table.size() || chunk.block_begin > chunk.block_end)
                refuse("has a block table outside its own");
            const std::size_t end = chunk.position + (chunk.token_end - chunk.token_begin);
            if ((chunk.block_end - chunk.block_begin) * kTokensPerBlock < end)
                refuse("has a block table too short for position " + std::to_string(end - 1));
        }
        if (next != tokens) refuse("has tokens that belong to no chunk");
        if (next_read != iteration.reads.size()) refuse("has reads that belong to no chunk");
        if (logits.size() != iteration.reads.size() * head_rows()) refuse("has no room for its logits");
    }

    // Lists where each token's keys go, its rotation, the tiles of attention, and the rows wanted.
    void plan(const Iteration& iteration) {
        tiles_.clear();
        last_tiles_.clear();
        wanted_.clear();
        places_.clear();
        for (const Chunk& chunk : iteration.chunks) {
            const std::size_t count = chunk.token_end - chunk.token_begin;
            for (std::size_t i = 0; i < count; ++i) {
                const std::size_t position = chunk.position + i;
                const std::size_t entry = chunk.block_begin + position / kTokensPerBlock;
                places_.push_back({position, iteration.block_table[entry]});
            }
            add_tiles(chunk, 0, count, tiles_);
            for (std::size_t read = chunk.read_begin; read < chunk.read_end; ++read) {
                const std::size_t place = iteration.reads[read];
                add_tiles(chunk, place, place + 1, last_tiles_);
                wanted_.push_back(chunk.token_begin + place);
            }
        }
        find_angles(config_.rope, angles_);
        if (std::ranges::any_of(config_.windows, [](std::size_t window) { return window > 0; }))
            find_angles(config_.window_rope, window_angles_);
    }

    void find_angles(const Rope& rope, const Buffer& angles) const {
        const std::size_t half = rope.inverse_frequencies.size();
        const std::ptrdiff_t rows = static_cast<std::ptrdiff_t>(places_.size());
#pragma omp parallel for
        for (std::ptrdiff_t row = 0; row < rows; ++row) {
            float* cosines = angles.as<float>() + static_cast<std::size_t>(row) * heads_.head_dim;
            for (std::size_t i = 0; i < half; ++i) {
                const float position = static_cast<float>(places_[static_cast<std::size_t>(row)].position);
                const float angle = position * rope.inverse_frequencies[i];
                cosines[i] = std::cos(angle) * rope.factor;
                cosines[half + i] = std::sin(angle) * rope.factor;
            }
        }
    }

    void add_tiles(const Chunk& chunk, std::size_t from, std::size_t to, std::vector<TileSpan>& tiles) const {
        const std::size_t heads = std::min(heads_.group(), kTileRows);
        const std::size_t tokens = kTileRows / heads;
        for (std::size_t first = 0; first < heads_.heads; first += heads_.group())
            for (std::size_t head = first; head < first + heads_.group(); head += heads)
                for (std::size_t token = from; token < to; token += tokens)
                    tiles.push_back({&chunk, token, std::min(tokens, to - token), head,
                                     std::min(heads, first + heads_.group() - head)});
    }

    void embed(std::span<const std::uint32_t> ids) {
        const std::ptrdiff_t rows = static_cast<std::ptrdiff_t>(ids.size());
#pragma omp parallel for
        for (std::ptrdiff_t i = 0; i < rows; ++i) {
            const std::size_t row = static_cast<std::size_t>(i);
            kernels_.embed(embedding_ + ids[row] * config_.hidden_size, config_.embedding_scale,
                           config_.hidden_size, residual(row));
        }
    }

    // Norms of `rows` rows of the residual stream from `from` on, to the first rows of `normed_`.
    void norm(const NormWeights& weights, std::size_t from, std::size_t rows) {
        const std::size_t hidden = config_.hidden_size;
        const std::ptrdiff_t count = static_cast<std::ptrdiff_t>(rows);
#pragma omp parallel for
        for (std::ptrdiff_t i = 0; i < count; ++i) {
            const std::size_t row = static_cast<std::size_t>(i);
            kernels_.norm(residual(from + row), weights, hidden, normed_.as<T>() + row * hidden);
        }
    }

    // Adds the norms of `sums` to the residual stream, where they are not there already.
    void add(const NormWeights& weights, std::size_t from, std::size_t rows) {
        if (!config_.post_norms) return;
        const std::ptrdiff_t count = static_cast<std::ptrdiff_t>(rows);
#pragma omp parallel for
        for (std::ptrdiff_t i = 0; i < count; ++i) {
            const std::size_t row = from + static_cast<std::size_t>(i);
            kernels_.add_normed(sums(row), weights, config_.hidden_size, residual(row));
        }
    }

    // Queries take the place of `normed_`, keys and values go to the cache.
    void rotate_and_store(std::size_t layer, std::size_t rows) {
        const CacheView<T> cache = cache_.layer(layer);
        const bool windowed = config_.windows[layer] > 0;
        const std::size_t half = (windowed ? config_.window_rope : config_.rope).inverse_frequencies.size();
        const Buffer& angles = windowed ? window_angles_ : angles_;
        const std::ptrdiff_t count = static_cast<std::ptrdiff_t>(rows);
#pragma omp parallel for
        for (std::ptrdiff_t i = 0; i < count; ++i) {
            const std::size_t row = static_cast<std::size_t>(i);
            const float* cosines = angles.as<float>() + row * heads_.head_dim;
            const Rotation rotation{cosines, cosines + half, 2 * half, layers_[layer].query_norm,
                                    layers_[layer].key_norm};
            CacheView<T> block = cache;
            block.base += places_[row].block * cache.block_stride;
            kernels_.rope(heads_, projected_.as<float>() + row * heads_.qkv_width(), rotation,
                          places_[row].position % kTokensPerBlock, block,
                          normed_.as<T>() + row * heads_.q_width());
        }
    }

    void attend(std::size_t layer, const Iteration& iteration, const std::vector<TileSpan>& tiles) {
        const CacheView<T> cache = cache_.layer(layer);
        const std::ptrdiff_t count = static_cast<std::ptrdiff_t>(tiles.size());
#pragma omp parallel for schedule(dynamic)
        for (std::ptrdiff_t i = 0; i < count; ++i) {
            const TileSpan& span = tiles[static_cast<std::size_t>(i)];
            const std::size_t row = span.chunk->token_begin + span.token;
            kernels_.attention({heads_, cache, iteration.block_table.data() + span.chunk->block_begin,
                                normed_.as<T>() + row * heads_.q_width(), heads_.q_width(), span.tokens,
                                span.chunk->position + span.token, span.head, span.heads,
                                config_.attention_scale, config_.attention_softcap, config_.windows[layer]});
        }
    }

    // Moves the rows whose logits are wanted to the front; how many they are.
    std::size_t gather() {
        for (std::size_t i = 0; i < wanted_.size(); ++i) {
            const std::size_t from = wanted_[i];
            if (from == i) continue;
            std::copy_n(residual(from), config_.hidden_size, residual(i));
            const T* attended = normed_.as<T>() + from * heads_.q_width();
            std::copy_n(attended, heads_.q_width(), normed_.as<T>() + i * heads_.q_width());
        }
        return wanted_.size();
    }

    void feed_forward(const Layer& layer, std::size_t rows) {
        const std::size_t ffn = config_.intermediate_size;
        for (std::size_t begin = 0; begin < rows; begin += kPanelRows) {
            const std::size_t panel = std::min(kPanelRows, rows - begin);
            norm(layer.post_norm, begin, panel);
            gate_up_.run(panel, normed_.as<T>(), layer.gate_up, gates_.as());
            const std::ptrdiff_t count = static_cast<std::ptrdiff_t>(panel);
#pragma omp parallel for
            for (std::ptrdiff_t i = 0; i < count; ++i) {
                const std::size_t row = static_cast<std::size_t>(i);
                kernels_.activate(config_.activation, gates_.as<T>() + row * gate_up_width(), ffn,
                                  activated_.as<T>() + row * ffn);
            }
            down_.run(panel, activated_.as<T>(), layer.down, sums(begin));
            add(layer.mlp_post_norm, begin, panel);
        }
    }

    // Logits of the vocabulary, a few rows at a time.
    void predict(std::size_t rows, std::span<float> logits) {
        const std::size_t width = config_.head_rows;
        const float cap = config_.logit_softcap;
        for (std::size_t begin = 0; begin < rows; begin += kLogitRows) {
            const std::size_t panel = std::min(kLogitRows, rows - begin);
            norm(final_norm_, begin, panel);
            lm_head_->run(panel, normed_.as<T>(), lm_head_weights_, predicted_.as());
            const float* from = predicted_.as<float>();
            float* to = logits.data() + begin * width;
            const std::ptrdiff_t count = static_cast<std::ptrdiff_t>(panel * width);
#pragma omp parallel for
            for (std::ptrdiff_t i = 0; i < count; ++i)
                to[i] = cap > 0.0f ? cap * std::tanh(from[i] / cap) : from[i];
        }
    }

    void score(std::size_t rows, std::span<float> logits) {
        const std::size_t hidden = config_.hidden_size;
        std::vector<float> states(rows * hidden);
        const std::ptrdiff_t count = static_cast<std::ptrdiff_t>(rows);
#pragma omp parallel for
        for (std::ptrdiff_t i = 0; i < count; ++i) {
            const std::size_t row = static_cast<std::size_t>(i);
            float* state = states.data() + row * hidden;
            kernels_.final_norm(residual(row), final_norm_, hidden, state);
            kernels_.head(head_, state, head_rows(), hidden, logits.data() + row * head_rows());
        }
    }

    // Where a token stands in its sequence, and the block that takes its keys.
    struct Place {
        std::size_t position;
        std::size_t block;
    };

    const ModelConfig config_;
    const HeadShape heads_;
    const std::size_t max_num_tokens_;
    const Kernels<T>& kernels_;
    Linear<T> qkv_, output_, gate_up_, down_;
    const T* embedding_ = nullptr;
    std::vector<Layer> layers_;
    NormWeights final_norm_ = {};
    // [head_rows, hidden], unless the head is the vocabulary's.
    const float* head_ = nullptr;
    // Where the head is the vocabulary's; its logits, [kLogitRows, vocabulary].
    std::optional<Linear<T>> lm_head_;
    LinearWeights lm_head_weights_ = {};
    Buffer predicted_;
    KvCache<T> cache_;
    // [max_num_tokens, ...]: hidden, f32; hidden or q_width; qkv_width, f32.
    Buffer residual_, normed_, projected_;
    // [max_num_tokens, hidden], f32, where sums are normed.
    Buffer added_;
    // [panel, ...]: gates and ups; intermediate.
    Buffer gates_, activated_;
    // [max_num_tokens, head_dim]: cosines, then sines.
    Buffer angles_, window_angles_;
    std::vector<Place> places_;
    std::vector<TileSpan> tiles_, last_tiles_;
    std::vector<std::size_t> wanted_;
};

}  // namespace

std::unique_ptr<Engine> make_decoder(const ModelConfig& config, const RunLimits& limits,
                                     const Weights& weights) {
    check(config, limits);
    if (config.dtype == Dtype::S8 && !supports_int8())
        throw EngineError("this processor does not sum int8 products; build the engine with `--dtype f32`");
    // With int8 weights, all else is in the best that the processor has.
    const bool wide = config.dtype == Dtype::F32 || (config.dtype == Dtype::S8 && !supports_bf16());
    if (wide) return std::make_unique<Decoder<float>>(config, limits, weights);
    if (!supports_bf16())
        throw EngineError("this processor does not compute in bfloat16; build the engine with `--dtype f32`");
    return std::make_unique<Decoder<bf16>>(config, limits, weights);
}

}  // namespace assay::cpu
