#include "cpu/bridge.h"

#include "assay/src/engine/bridge.rs.h"
#include "cpu/decoder.h"
#include "cpu/encoder.h"
#include "cpu/matmul.h"

namespace assay::bridge {
namespace {

cpu::Dtype dtype(DtypeView view) {
    switch (view) {
        case DtypeView::F32:
            return cpu::Dtype::F32;
        case DtypeView::Bf16:
            return cpu::Dtype::Bf16;
        case DtypeView::Int8:
            return cpu::Dtype::Int8;
    }
    throw EngineError("the CPU engine does not know this number format");
}

cpu::Matmul matmul_for(DtypeView view, std::size_t out, std::size_t in) {
    const cpu::Dtype result = view == DtypeView::Int8 ? cpu::Dtype::Int32 : cpu::Dtype::F32;
    return cpu::Matmul({dtype(view), out, in, result});
}

cpu::Activation activation(ActivationView view) {
    switch (view) {
        case ActivationView::Silu:
            return cpu::Activation::Silu;
        case ActivationView::GeluTanh:
            return cpu::Activation::GeluTanh;
        case ActivationView::Relu2:
            return cpu::Activation::Relu2;
        case ActivationView::Gelu:
            return cpu::Activation::Gelu;
        case ActivationView::GatedGelu:
            return cpu::Activation::GatedGelu;
        case ActivationView::PlainGeluTanh:
            return cpu::Activation::PlainGeluTanh;
    }
    throw EngineError("the CPU engine does not know this activation");
}

cpu::QkNormSpan qk_norm(QkNormView view) {
    switch (view) {
        case QkNormView::None:
            return cpu::QkNormSpan::None;
        case QkNormView::EachHead:
            return cpu::QkNormSpan::EachHead;
        case QkNormView::AllHeads:
            return cpu::QkNormSpan::AllHeads;
        case QkNormView::OwnHead:
            return cpu::QkNormSpan::OwnHead;
    }
    throw EngineError("the CPU engine does not know this norm of queries and keys");
}

cpu::Rope rope(const RopeView& view) {
    return {.inverse_frequencies = {view.inverse_frequencies.begin(), view.inverse_frequencies.end()},
            .factor = view.factor,
            .usual_tokens = view.usual_tokens,
            .long_inverse_frequencies = {view.long_inverse_frequencies.begin(),
                                         view.long_inverse_frequencies.end()},
            .ntk_theta = view.ntk_theta,
            .ntk_factor = view.ntk_factor};
}

cpu::ExpertsConfig experts(const ExpertsView& view) {
    return {.count = view.count,
            .active = view.active,
            .intermediate_size = view.intermediate_size,
            .normalized = view.normalized,
            .shared_intermediate_size = view.shared_intermediate_size,
            .layers = {view.layers.begin(), view.layers.end()}};
}

cpu::PositionsConfig positions(const PositionsView& view) {
    return {.rows = view.rows,
            .first = view.first,
            .padding = view.skips_padding ? std::optional(view.padding) : std::nullopt};
}

std::optional<cpu::EncoderConfig> encoder(const EncoderView& view) {
    if (!view.present) return std::nullopt;
    const RelativeView& relative = view.relative;
    return cpu::EncoderConfig{.segments = view.segments,
                              .separator = view.separator,
                              .relative = {.span = relative.span,
                                           .buckets = relative.buckets,
                                           .longest = relative.longest,
                                           .normed = relative.normed,
                                           .with_queries = relative.with_queries,
                                           .with_keys = relative.with_keys,
                                           .shared_projections = relative.shared_projections},
                              .final_norm = view.final_norm,
                              .mean = view.mean};
}

cpu::ModelConfig model_of(const CpuModel& model) {
    const NormView& norms = model.norms;
    const AttentionView& attention = model.attention;
    const FeedForwardView& feed_forward = model.feed_forward;
    return {
        .dtype = dtype(model.dtype),
        .vocab_size = model.vocab_size,
        .hidden_size = model.hidden_size,
        .num_layers = model.num_layers,
        .embedding_scale = model.embedding_scale,
        .residual = {model.parallel_residual, model.residual_scale},
        .norms = {norms.eps, norms.layer_norm, norms.pre_norms, norms.post_norms, norms.sum_norms},
        .attention = {.heads = {attention.num_heads, attention.num_kv_heads, attention.head_dim},
                      .qkv_bias = attention.qkv_bias,
                      .output_bias = attention.output_bias,
                      .qk_norm = qk_norm(attention.qk_norm),
                      .scale = attention.scale,
                      .softcap = attention.softcap,
                      .query_growth = {attention.query_growth, attention.query_growth_length},
                      .windows = {attention.windows.begin(), attention.windows.end()},
                      .rope = rope(attention.rope),
                      .window_rope = rope(attention.window_rope)},
        .feed_forward = {feed_forward.intermediate_size, activation(feed_forward.activation),
                         feed_forward.bias, experts(feed_forward.experts)},
        .head = {model.head.rows, model.head.vocabulary, model.head.softcap},
        .positions = positions(model.positions),
        .encoder = encoder(model.encoder),
    };
}

cpu::RunLimits limits_of(const CpuLimits& limits) {
    return {limits.threads, limits.max_num_tokens, limits.kv_blocks};
}

cpu::ThreadPlaces places_of(const CpuLimits& limits) {
    std::vector<std::vector<std::size_t>> places;
    for (const CoreView& core : limits.cores) places.emplace_back(core.cpus.begin(), core.cpus.end());
    return cpu::ThreadPlaces(places);
}

}  // namespace

std::unique_ptr<CpuEngine> open_cpu(const CpuModel& model, const CpuLimits& limits,
                                    rust::Slice<const TensorView> tensors,
                                    rust::Slice<const std::uint8_t> weights) {
    cpu::Weights by_name;
    const auto bytes = std::as_bytes(span_of(weights));
    for (const TensorView& tensor : tensors) {
        const std::string name(tensor.name);
        by_name.add(name, part_of(bytes, tensor.begin, tensor.end, "tensor `" + name + "`"));
    }
    const cpu::ModelConfig config = model_of(model);
    const auto make = config.encoder ? cpu::make_encoder : cpu::make_decoder;
    return std::make_unique<CpuEngine>(make(config, limits_of(limits), by_name), places_of(limits));
}

void CpuEngine::run(rust::Slice<const std::uint32_t> token_ids, rust::Slice<const std::uint32_t> block_table,
                    rust::Slice<const ChunkView> chunks, rust::Slice<const std::size_t> reads,
                    rust::Slice<float> logits) {
    places_.bind();
    chunks_.clear();
    for (const ChunkView& chunk : chunks)
        chunks_.push_back({chunk.token_begin, chunk.token_end, chunk.position, chunk.text_tokens,
                           chunk.block_begin, chunk.block_end, chunk.read_begin, chunk.read_end});
    engine_->run({span_of(token_ids), span_of(block_table), chunks_, span_of(reads)}, span_of(logits));
}

void check_cpu(const CpuModel& model) {
    cpu::check(model_of(model), {.threads = 1, .max_num_tokens = 1, .kv_blocks = 1});
}

std::unique_ptr<Roofline> open_roofline(const CpuModel& model, std::size_t threads, std::size_t rows) {
    const cpu::ModelConfig config = model_of(model);
    return std::make_unique<Roofline>(config.dtype, cpu::products(config, rows, rows), threads);
}

std::size_t packed_bytes(DtypeView dtype, std::size_t out, std::size_t in) {
    return matmul_for(dtype, out, in).packed_bytes();
}

void pack(DtypeView dtype, std::size_t out, std::size_t in, rust::Slice<const std::uint8_t> source,
          rust::Slice<std::uint8_t> packed) {
    matmul_for(dtype, out, in).pack(std::as_bytes(span_of(source)), std::as_writable_bytes(span_of(packed)));
}

}  // namespace assay::bridge
