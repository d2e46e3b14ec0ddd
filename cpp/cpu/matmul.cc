#include "matmul.h"

#include <omp.h>

#include <algorithm>
#include <bit>
#include <exception>

#include "engine.h"

namespace assay::cpu {
namespace {

using Tag = dnnl::memory::format_tag;
using Dim = dnnl::memory::dim;

// Rows for which oneDNN chooses the layout of the weights; the layout serves any number.
constexpr std::size_t kReferenceRows = 256;
// Compiled products to keep for each shape.
constexpr std::size_t kMaxPlans = 64;
// Multiplications below which a product takes no longer than its compilation.
constexpr std::size_t kSmall = std::size_t{1} << 27;
// Rows of a panel if rows are not independent: a multiple of the rows that each of oneDNN's kernels takes at
// once, so that a row has the same bits anywhere in a panel.
constexpr std::size_t kPanelRows = 48;

dnnl::memory::data_type type_of(Dtype dtype) {
    switch (dtype) {
        case Dtype::F32:
            return dnnl::memory::data_type::f32;
        case Dtype::Bf16:
            return dnnl::memory::data_type::bf16;
        case Dtype::Int8:
            return dnnl::memory::data_type::s8;
        case Dtype::Int32:
            return dnnl::memory::data_type::s32;
    }
    throw EngineError("a matrix has an unknown number format");
}

// Columns of y that one of oneDNN's threads takes at once.
constexpr std::size_t kColumnBlock = 64;
// Columns of x from which most_threads() counts; oneDNN 3.7 does from 20,000 on.
constexpr std::size_t kLongSum = std::size_t{1} << 13;

// Columns of x beyond which a sum of products of up to 127 * 127 might overflow.
constexpr std::size_t kMostSummed = std::size_t{1} << 17;

// Rows that a product computes at least. oneDNN 3 sums a single row in another order than several.
constexpr std::size_t kFewestRows = DNNL_VERSION_MAJOR < 3 ? 1 : 2;

// Rows to compute for a small product. Those of generation are not rounded up to 16: with few rows, the time
// of a product is that of reading its weights.
std::size_t rounded_up(std::size_t rows) {
    return std::min(std::bit_ceil(std::max(rows, kFewestRows)), room_for_rows(rows));
}

Dim dim(std::size_t value) { return static_cast<Dim>(value); }

dnnl::memory::desc one_per_column(const Matmul::Shape& shape) {
    return {{1, dim(shape.out)}, dnnl::memory::data_type::f32, Tag::ab};
}

// Limits OpenMP's threads while it lives: oneDNN then compiles for as many.
class AtMostThreads {
  public:
    explicit AtMostThreads(std::size_t threads) {
        omp_set_num_threads(static_cast<int>(std::min(threads, static_cast<std::size_t>(before_))));
    }
    AtMostThreads(const AtMostThreads&) = delete;
    AtMostThreads& operator=(const AtMostThreads&) = delete;
    ~AtMostThreads() { omp_set_num_threads(before_); }

  private:
    int before_ = omp_get_max_threads();
};

// Whether a kernel of oneDNN sums in one order for any number of rows. The tests hold the block-wise kernels
// to it: they cut a sum by its length alone. Those of oneDNN 3 for AMX look at the number of rows as well,
// and older kernels have other ways for few rows.
bool sums_in_one_order(std::string_view kernel) {
    const bool by_rows = DNNL_VERSION_MAJOR >= 3 && instruction_set().find("amx") != std::string::npos;
    return kernel.starts_with("brg") && !by_rows;
}

// Threads for which to compile a product. oneDNN 3 shares out a long sum among those that have no columns of
// their own.
std::size_t most_threads(const Matmul::Shape& shape) {
    return DNNL_VERSION_MAJOR < 3 || shape.in < kLongSum ? SIZE_MAX
                                                         : std::max<std::size_t>(1, shape.out / kColumnBlock);
}

}  // namespace

std::string onednn_version() {
    const dnnl_version_t* version = dnnl_version();
    return std::to_string(version->major) + "." + std::to_string(version->minor) + "." +
           std::to_string(version->patch);
}

std::string instruction_set() {
    switch (static_cast<int>(dnnl_get_effective_cpu_isa())) {
        case dnnl_cpu_isa_sse41:
            return "sse41";
        case dnnl_cpu_isa_avx:
            return "avx";
        case dnnl_cpu_isa_avx2:
            return "avx2";
        case dnnl_cpu_isa_avx2_vnni:
            return "avx2_vnni";
        case dnnl_cpu_isa_avx512_core:
            return "avx512_core";
        case dnnl_cpu_isa_avx512_core_vnni:
            return "avx512_core_vnni";
        case dnnl_cpu_isa_avx512_core_bf16:
            return "avx512_core_bf16";
        case dnnl_cpu_isa_avx512_core_amx:
            return "avx512_core_amx";
#if DNNL_VERSION_MAJOR >= 3
        case dnnl_cpu_isa_avx2_vnni_2:
            return "avx2_vnni_2";
        case dnnl_cpu_isa_avx512_core_fp16:
            return "avx512_core_fp16";
        case dnnl_cpu_isa_avx512_core_amx_fp16:
            return "avx512_core_amx_fp16";
#endif
        default:
#ifdef __aarch64__
            return "aarch64";
#else
            return "unknown";
#endif
    }
}

bool supports_bf16() {
    const std::string isa = instruction_set();
    return isa == "avx512_core_bf16" || isa == "avx512_core_fp16" || isa.starts_with("avx512_core_amx");
}

bool supports_int8() { return instruction_set().find("vnni") != std::string::npos || supports_bf16(); }

Matmul::Matmul(const Shape& shape) : shape_(shape), engine_(dnnl::engine::kind::cpu, 0) {
    if (shape.dtype == Dtype::Int8 && shape.in > kMostSummed)
        throw EngineError("an int8 product sums at most " + std::to_string(kMostSummed) + " columns, not " +
                          std::to_string(shape.in) + "; build the engine with another `--dtype`");
    const dnnl::memory::desc any({dim(shape.in), dim(shape.out)}, type_of(shape.dtype), Tag::any);
    Shape plain = shape;
    if (shape.scale_columns) {
        plain.scale_columns = false;
        plain.result = Dtype::Int32;
    }
    dnnl::matmul::primitive_desc desc = describe(plain, kReferenceRows, any);
    weights_ = desc.weights_desc();
    if (shape.scale_columns) desc = describe(shape, kReferenceRows, weights_);
    const std::string_view kernel = desc.impl_info_str();
    has_fast_kernel_ = kernel.starts_with("brg");
    // Sums of whole numbers are the same in any order.
    independent_rows_ = shape.dtype == Dtype::Int8 || sums_in_one_order(kernel);
}

std::size_t Matmul::packed_bytes() const { return round_up(weights_.get_size(), 64); }

void Matmul::pack(std::span<const std::byte> source, std::span<std::byte> packed) {
    if (source.size() != shape_.out * shape_.in * size_of(shape_.dtype))
        throw EngineError("a matrix to pack has " + std::to_string(source.size()) + " bytes where [" +
                          std::to_string(shape_.out) + ", " + std::to_string(shape_.in) + "] was expected");
    if (packed.size() < weights_.get_size())
        throw EngineError("a packed matrix takes " + std::to_string(weights_.get_size()) +
                          " bytes, and only " + std::to_string(packed.size()) + " were given");
    const dnnl::memory::desc plain({dim(shape_.in), dim(shape_.out)}, type_of(shape_.dtype), Tag::ba);
    // oneDNN takes pointers to non-const, but only reads the source of a reorder.
    dnnl::memory from(plain, engine_, const_cast<std::byte*>(source.data()));
    dnnl::memory to(weights_, engine_, packed.data());
    dnnl::stream stream(engine_);
    dnnl::reorder(from, to).execute(stream, from, to);
    stream.wait();
}

dnnl::matmul::primitive_desc Matmul::describe(const Shape& shape, std::size_t rows,
                                              const dnnl::memory::desc& weights) const {
    const dnnl::memory::desc x({dim(rows), dim(shape.in)}, type_of(shape.dtype), Tag::ab);
    const dnnl::memory::desc y({dim(rows), dim(shape.out)}, type_of(shape.result), Tag::ab);
    const dnnl::memory::desc bias = shape.bias ? one_per_column(shape) : dnnl::memory::desc();
    dnnl::primitive_attr attributes;
    attributes.set_scratchpad_mode(dnnl::scratchpad_mode::user);
    dnnl::post_ops operations;
    if (shape.scale_columns) operations.append_binary(dnnl::algorithm::binary_mul, one_per_column(shape));
    if (shape.add) operations.append_sum(1.0f);
    attributes.set_post_ops(operations);
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
        const AtMostThreads held(independent_rows_ ? most_threads(shape_) : 1);
        dnnl::matmul::primitive_desc desc = describe(shape_, rows, weights_);
        plans_.push_front({rows, desc, dnnl::matmul(desc)});
        if (plans_.size() > kMaxPlans) plans_.pop_back();
    }
    return plans_.front();
}

void Matmul::make_scratch(const Plan& plan, std::size_t threads) {
    if (scratch_.size() < threads) scratch_.resize(threads);
    const std::size_t bytes = plan.desc.scratchpad_desc().get_size();
    for (Buffer& scratch : scratch_)
        if (scratch.bytes() < bytes) scratch = Buffer(bytes);
}

void Matmul::execute(const Plan& plan, const void* x, const void* packed, const float* columns, void* y,
                     void* scratch) const {
    const auto memory = [&](const dnnl::memory::desc& desc, const void* data) {
        return dnnl::memory(desc, engine_, const_cast<void*>(data));
    };
    std::unordered_map<int, dnnl::memory> arguments{
        {DNNL_ARG_SRC, memory(plan.desc.src_desc(), x)},
        {DNNL_ARG_WEIGHTS, memory(plan.desc.weights_desc(), packed)},
        {DNNL_ARG_DST, memory(plan.desc.dst_desc(), y)},
        {DNNL_ARG_SCRATCHPAD, memory(plan.desc.scratchpad_desc(), scratch)},
    };
    if (columns != nullptr)
        arguments.insert({shape_.bias ? DNNL_ARG_BIAS : DNNL_ARG_ATTR_MULTIPLE_POST_OP(0) | DNNL_ARG_SRC_1,
                          memory(one_per_column(shape_), columns)});
    dnnl::stream stream(engine_);
    plan.primitive.execute(stream, arguments);
    stream.wait();
}

void Matmul::run(std::size_t rows, const void* x, const void* packed, const float* columns, void* y) {
    if (rows == 0) return;
    if (!independent_rows_) return run_panels(rows, x, packed, columns, y);
    // Rounding up gives few sizes of small products, so that most are compiled already.
    const bool small = shape_.any_rows || rows * shape_.out * shape_.in < kSmall;
    const Plan& plan = this->plan(small ? rounded_up(rows) : rows);
    make_scratch(plan, 1);
    execute(plan, x, packed, columns, y, scratch_.front().as());
}

void Matmul::run_panels(std::size_t rows, const void* x, const void* packed, const float* columns, void* y) {
    const Plan& plan = this->plan(kPanelRows);
    make_scratch(plan, static_cast<std::size_t>(omp_get_max_threads()));
    const std::size_t panels = (rows + kPanelRows - 1) / kPanelRows;
    std::exception_ptr failure;
#pragma omp parallel for schedule(dynamic)
    for (std::size_t panel = 0; panel < panels; ++panel) {
        const std::size_t begin = panel * kPanelRows;
        const auto* from = static_cast<const std::byte*>(x) + begin * shape_.in * size_of(shape_.dtype);
        auto* to = static_cast<std::byte*>(y) + begin * shape_.out * size_of(shape_.result);
        void* scratch = scratch_[static_cast<std::size_t>(omp_get_thread_num())].as();
        try {
            if (rows - begin < kPanelRows)
                run_last_panel(plan, rows - begin, from, packed, columns, to, scratch);
            else
                execute(plan, from, packed, columns, to, scratch);
        } catch (...) {
#pragma omp critical
            failure = std::current_exception();
        }
    }
    if (failure) std::rethrow_exception(failure);
}

void Matmul::run_last_panel(const Plan& plan, std::size_t rows, const void* x, const void* packed,
                            const float* columns, void* y, void* scratch) {
    const std::size_t x_row = shape_.in * size_of(shape_.dtype);
    const std::size_t y_row = shape_.out * size_of(shape_.result);
    if (last_x_.bytes() < kPanelRows * x_row) last_x_ = Buffer(kPanelRows * x_row);
    if (last_y_.bytes() < kPanelRows * y_row) last_y_ = Buffer(kPanelRows * y_row);
    std::memcpy(last_x_.as(), x, rows * x_row);
    std::memcpy(last_y_.as(), y, rows * y_row);
    execute(plan, last_x_.as(), packed, columns, last_y_.as(), scratch);
    std::memcpy(y, last_y_.as(), rows * y_row);
}

}  // namespace assay::cpu
