#include "config.h"

#include <string>

#include "engine.h"

namespace assay::cpu {
namespace {

[[noreturn]] void refuse(const std::string& why) { throw EngineError("the CPU engine " + why); }

void check_attention(const AttentionConfig& attention, std::size_t num_layers) {
    const HeadShape& heads = attention.heads;
    if (heads.head_dim % 8 != 0 || heads.head_dim < 8 || heads.head_dim > kMaxHeadDim)
        refuse("needs a head size that is a multiple of 8 from 8 to 256, not " +
               std::to_string(heads.head_dim));
    if (heads.kv_heads == 0 || heads.heads % heads.kv_heads != 0)
        refuse("needs a multiple of the key-value heads as query heads, not " + std::to_string(heads.heads) +
               " for " + std::to_string(heads.kv_heads));
    for (const Rope* rope : {&attention.rope, &attention.window_rope})
        if (rope->inverse_frequencies.empty() || rope->inverse_frequencies.size() > heads.head_dim / 2)
            refuse("needs rotary frequencies, at most one for each pair of a head's numbers");
    const Rope& rope = attention.rope;
    if (!rope.long_inverse_frequencies.empty() &&
        rope.long_inverse_frequencies.size() != rope.inverse_frequencies.size())
        refuse("needs as many rotary frequencies for long texts as for others");
    if (rope.usual_tokens > 0 && rope.long_inverse_frequencies.empty() &&
        (rope.ntk_theta <= 1.0 || rope.ntk_factor < 1.0 || rope.inverse_frequencies.size() < 2))
        refuse("needs a base and a factor for the rotary frequencies of long texts, and two pairs");
    if (attention.windows.size() != num_layers) refuse("needs one window for each layer");
}

void check_experts(const ExpertsConfig& experts, std::size_t num_layers) {
    if (experts.count == 0) return;
    if (experts.active == 0 || experts.active > experts.count)
        refuse("needs at least one active expert and no more than there are, not " +
               std::to_string(experts.active) + " of " + std::to_string(experts.count));
    for (const std::size_t layer : experts.layers)
        if (layer >= num_layers) refuse("needs experts in layers that exist, not " + std::to_string(layer));
}

}  // namespace

void check(const ModelConfig& config, const RunLimits& limits) {
    check_attention(config.attention, config.num_layers);
    if (config.residual.parallel &&
        (config.feed_forward.experts.count > 0 || config.norms.post_norms || config.residual.scale != 1.0f))
        refuse(
            "computes attention and feed-forward network side by side only without experts, norms of outputs "
            "and a factor on them");
    if (config.norms.post_norms && config.residual.scale != 1.0f)
        refuse("multiplies the outputs of attention and feed-forward network only if they are not normed");
    check_experts(config.feed_forward.experts, config.num_layers);
    if (config.num_layers == 0 || config.head.rows == 0 || config.vocab_size == 0)
        refuse("needs a model with layers, a head and a vocabulary");
    if (limits.max_num_tokens == 0 || limits.kv_blocks == 0) refuse("needs room for at least one token");
}

}  // namespace assay::cpu
