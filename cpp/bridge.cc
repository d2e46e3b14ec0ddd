#include "bridge.h"

#include "assay/src/engine/bridge.rs.h"
#include "cpu/matmul.h"

namespace assay::bridge {
namespace {

cpu::Dtype dtype(DtypeView view) {
    switch (view) {
        case DtypeView::F32:
            return cpu::Dtype::F32;
        case DtypeView::Bf16:
            return cpu::Dtype::BF16;
        case DtypeView::Int8:
            return cpu::Dtype::S8;
    }
    throw cpu::EngineError("the CPU engine does not know this number format");
}

cpu::Matmul matmul_for(DtypeView view, std::size_t out, std::size_t in) {
    const cpu::Dtype result = view == DtypeView::Int8 ? cpu::Dtype::S32 : cpu::Dtype::F32;
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
    }
    throw cpu::EngineError("the CPU engine does not know this activation");
}

cpu::Rope rope(const RopeView& view) {
    return {{view.inverse_frequencies.begin(), view.inverse_frequencies.end()}, view.factor};
}

template <typename T>
std::span<T> span_of(rust::Slice<T> slice) {
    return {slice.data(), slice.size()};
}

}  // namespace

std::unique_ptr<Handle> open_cpu(const CpuConfig& config, rust::Slice<const TensorView> tensors,
                                 rust::Slice<const std::uint8_t> weights) {
    cpu::Weights by_name;
    const auto bytes = std::as_bytes(span_of(weights));
    for (const TensorView& tensor : tensors) {
        if (tensor.end > bytes.size() || tensor.begin > tensor.end)
            throw cpu::EngineError("tensor `" + std::string(tensor.name) + "` lies outside the weights");
        by_name.add(std::string(tensor.name), bytes.subspan(tensor.begin, tensor.end - tensor.begin));
    }
    const cpu::ModelConfig model{
        .dtype = dtype(config.dtype),
        .vocab_size = config.vocab_size,
        .hidden_size = config.hidden_size,
        .intermediate_size = config.intermediate_size,
        .num_layers = config.num_layers,
        .heads = {config.num_heads, config.num_kv_heads, config.head_dim},
        .norm_eps = config.norm_eps,
        .qkv_bias = config.qkv_bias,
        .output_bias = config.output_bias,
        .mlp_bias = config.mlp_bias,
        .layer_norm = config.layer_norm,
        .qk_norm = config.qk_norm,
        .post_norms = config.post_norms,
        .activation = activation(config.activation),
        .embedding_scale = config.embedding_scale,
        .attention_scale = config.attention_scale,
        .attention_softcap = config.attention_softcap,
        .windows = {config.windows.begin(), config.windows.end()},
        .head_rows = config.head_rows,
        .lm_head = config.lm_head,
        .logit_softcap = config.logit_softcap,
        .rope = rope(config.rope),
        .window_rope = rope(config.window_rope),
    };
    const cpu::RunLimits limits{
        .threads = config.threads,
        .max_num_tokens = config.max_num_tokens,
        .kv_blocks = config.kv_blocks,
    };
    return std::make_unique<Handle>(cpu::make_decoder(model, limits, by_name));
}

void Handle::run(rust::Slice<const std::uint32_t> token_ids, rust::Slice<const std::uint32_t> block_table,
                 rust::Slice<const ChunkView> chunks, rust::Slice<const std::size_t> reads,
                 rust::Slice<float> logits) {
    chunks_.clear();
    for (const ChunkView& chunk : chunks)
        chunks_.push_back({chunk.token_begin, chunk.token_end, chunk.position, chunk.block_begin,
                           chunk.block_end, chunk.read_begin, chunk.read_end});
    engine_->run({span_of(token_ids), span_of(block_table), chunks_, span_of(reads)}, span_of(logits));
}

std::unique_ptr<Ceiling> open_ceiling(const CpuConfig& config, std::size_t rows) {
    const std::size_t q_width = config.num_heads * config.head_dim;
    const Ceiling::Shape shapes[] = {
        {q_width + 2 * config.num_kv_heads * config.head_dim, config.hidden_size},
        {config.hidden_size, q_width},
        {(config.activation == ActivationView::Relu2 ? 1 : 2) * config.intermediate_size, config.hidden_size},
        {config.hidden_size, config.intermediate_size},
    };
    return std::make_unique<Ceiling>(dtype(config.dtype), shapes, config.num_layers, rows, config.threads);
}

rust::String onednn_version() { return cpu::onednn_version(); }

rust::String instruction_set() { return cpu::instruction_set(); }

bool supports_bf16() { return cpu::supports_bf16(); }

bool supports_int8() { return cpu::supports_int8(); }

std::size_t packed_bytes(DtypeView dtype, std::size_t out, std::size_t in) {
    return matmul_for(dtype, out, in).packed_bytes();
}

void pack(DtypeView dtype, std::size_t out, std::size_t in, rust::Slice<const std::uint8_t> source,
          rust::Slice<std::uint8_t> packed) {
    matmul_for(dtype, out, in).pack(std::as_bytes(span_of(source)), std::as_writable_bytes(span_of(packed)));
}

}  // namespace assay::bridge
