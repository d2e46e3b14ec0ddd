#include "matmul.h"

#include <algorithm>

namespace assay::cpu {
namespace {

using Tag = dnnl::memory::format_tag;
using Dim = dnnl::memory::dim;

// Rows for which the layout of the weights is chosen; it serves any number.
constexpr std::size_t kReferenceRows = 256;
// Compiled products kept for each shape.
constexpr std::size_t kMaxPlans = 64;

dnnl::memory::data_type type_of(Dtype dtype) {
    return dtype == Dtype::F32 ? dnnl::memory::data_type::f32 : dnnl::memory::data_type::bf16;
}

Dim dim(std::size_t value) { return static_cast<Dim>(value); }

}  // namespace

std::string onednn_version() {
    const dnnl_version_t* version = dnnl_version();
    return std::to_string(version->major) + "." + std::to_string(version->minor) + "." +
           std::to_string(version->patch);
}

std::string instruction_set() {
    using Isa = dnnl::cpu_isa;
    switch (dnnl::get_effective_cpu_isa()) {
        case Isa::sse41:
            return "sse41";
        case Isa::avx:
            return "avx";
        case Isa::avx2:
            return "avx2";
        case Isa::avx2_vnni:
            return "avx2_vnni";
        case Isa::avx512_core:
            return "avx512_core";
        case Isa::avx512_core_vnni:
            return "avx512_core_vnni";
        case Isa::avx512_core_bf16:
            return "avx512_core_bf16";
#if DNNL_VERSION_MAJOR >= 3
        case Isa::avx2_vnni_2:
            return "avx2_vnni_2";
        case Isa::avx512_core_fp16:
            return "avx512_core_fp16";
        case Isa::avx512_core_amx:
            return "avx512_core_amx";
        case Isa::avx512_core_amx_fp16:
            return "avx512_core_amx_fp16";
#else
        case Isa::avx512_core_amx:
            return "avx512_core_amx";
#endif
        default:
            return "unknown";
    }
}

bool supports_bf16() {
    const std::string isa = instruction_set();
    return isa == "avx512_core_bf16" || isa == "avx512_core_fp16" || isa.starts_with("avx512_core_amx");
}

Matmul::Matmul(const Shape& shape) : shape_(shape), engine_(dnnl::engine::kind::cpu, 0), stream_(engine_) {
    const dnnl::memory::desc any({dim(shape.in), dim(shape.out)}, type_of(shape.dtype), Tag::any);
    weights_ = describe(kReferenceRows, any).weights_desc();
}

std::size_t Matmul::packed_bytes() const { return round_up(weights_.get_size(), 64); }

void Matmul::pack(std::span<const std::byte> source, std::span<std::byte> packed) {
    if (source.size() != shape_.out * shape_.in * size_of(shape_.dtype))
        throw EngineError("a matrix to pack has " + std::to_string(source.size()) + " bytes where [" +
                          std::to_string(shape_.out) + ", " + std::to_string(shape_.in) + "] was said");
    if (packed.size() < weights_.get_size())
        throw EngineError("a packed matrix takes " + std::to_string(weights_.get_size()) + " bytes, only " +
                          std::to_string(packed.size()) + " were given");
    const dnnl::memory::desc plain({dim(shape_.in), dim(shape_.out)}, type_of(shape_.dtype), Tag::ba);
    // oneDNN takes no pointers to const, but only reads the source of a reorder.
    dnnl::memory from(plain, engine_, const_cast<std::byte*>(source.data()));
    dnnl::memory to(weights_, engine_, packed.data());
    dnnl::reorder(from, to).execute(stream_, from, to);
    stream_.wait();
}

dnnl::matmul::primitive_desc Matmul::describe(std::size_t rows, const dnnl::memory::desc& weights) const {
    const dnnl::memory::desc x({dim(rows), dim(shape_.in)}, type_of(shape_.dtype), Tag::ab);
    const dnnl::memory::desc y({dim(rows), dim(shape_.out)}, type_of(shape_.result), Tag::ab);
    const dnnl::memory::desc bias =
        shape_.bias ? dnnl::memory::desc({1, dim(shape_.out)}, dnnl::memory::data_type::f32, Tag::ab)
                    : dnnl::memory::desc();
    dnnl::primitive_attr attributes;
    attributes.set_scratchpad_mode(dnnl::scratchpad_mode::user);
    if (shape_.add) {
        dnnl::post_ops operations;
        operations.append_sum(1.0f);
        attributes.set_post_ops(operations);
    }
#if DNNL_VERSION_MAJOR >= 3
    return {engine_, x, weights, bias, y, attributes};
#else
    return {{x, weights, bias, y}, attributes, engine_};
#endif
}

const Matmul::Plan& Matmul::plan(std::size_t rows) {
    const auto found =
        std::find_if(plans_.begin(), plans_.end(), [&](const Plan& plan) { return plan.rows == rows; });
    if (found != plans_.end()) {
        plans_.splice(plans_.begin(), plans_, found);
    } else {
        dnnl::matmul::primitive_desc desc = describe(rows, weights_);
        if (desc.scratchpad_desc().get_size() > scratch_.bytes())
            scratch_ = Buffer(desc.scratchpad_desc().get_size());
        plans_.push_front({rows, desc, dnnl::matmul(desc)});
        if (plans_.size() > kMaxPlans) plans_.pop_back();
    }
    return plans_.front();
}

void Matmul::run(std::size_t rows, const void* x, const void* packed, const float* bias, void* y) {
    if (rows == 0) return;
    const Plan& plan = this->plan(rows);
    const auto memory = [&](const dnnl::memory::desc& desc, const void* data) {
        return dnnl::memory(desc, engine_, const_cast<void*>(data));
    };
    std::unordered_map<int, dnnl::memory> arguments{
        {DNNL_ARG_SRC, memory(plan.desc.src_desc(), x)},
        {DNNL_ARG_WEIGHTS, memory(plan.desc.weights_desc(), packed)},
        {DNNL_ARG_DST, memory(plan.desc.dst_desc(), y)},
        {DNNL_ARG_SCRATCHPAD, memory(plan.desc.scratchpad_desc(), scratch_.as())},
    };
    if (shape_.bias) arguments.insert({DNNL_ARG_BIAS, memory(plan.desc.bias_desc(), bias)});
    plan.primitive.execute(stream_, arguments);
    stream_.wait();
}

}  // namespace assay::cpu
