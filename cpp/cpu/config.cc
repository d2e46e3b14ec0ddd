#include "config.h"

#include <string>

#include "engine.h"
#include "matmul.h"

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
        if (rope->inverse_frequencies.size() > heads.head_dim / 2)
            refuse("needs at most one rotary frequency for each pair of a head's numbers");
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

void check_encoder(const ModelConfig& config) {
    const RelativeConfig& relative = config.encoder->relative;
    if (config.head.vocabulary || config.residual.parallel || config.norms.post_norms ||
        config.residual.scale != 1.0f || config.feed_forward.experts.count > 0)
        refuse("computes encoders only with a head that scores and plain layers");
    if (config.attention.heads.group() != 1 && relative.span > 0)
        refuse("needs as many key-value heads as query heads for relative positions");
    if (relative.span > kMostRelativeRows / 2 || (relative.buckets > 0 && relative.buckets < 4))
        refuse("needs from 4 to " + std::to_string(kMostRelativeRows / 2) + " buckets of relative positions");
}

}  // namespace

bool computes_in_f32(Dtype dtype) {
    if (dtype == Dtype::Int8 && !supports_int8())
        throw EngineError("this processor does not sum int8 products; build the engine with `--dtype f32`");
    if (dtype == Dtype::F32 || (dtype == Dtype::Int8 && !supports_bf16())) return true;
    if (!supports_bf16())
        throw EngineError("this processor does not compute in bfloat16; build the engine with `--dtype f32`");
    return false;
}

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
    if (config.encoder) check_encoder(config);
    if (!config.encoder && config.norms.sum_norms) refuse("norms the residual stream only in encoders");
    if (config.num_layers == 0 || config.head.rows == 0 || config.vocab_size == 0)
        refuse("needs a model with layers, a head and a vocabulary");
    if (limits.max_num_tokens == 0 || limits.kv_blocks == 0) refuse("needs room for at least one token");
}

}  // namespace assay::cpu
