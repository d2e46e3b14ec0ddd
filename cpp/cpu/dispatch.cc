// Chooses the kernels for an instruction set.
#include "engine.h"
#include "kernels.h"

namespace assay::cpu {

namespace baseline {
extern const Kernels<float> kFloatKernels;
}
#if defined(__x86_64__)
namespace avx2 {
extern const Kernels<float> kFloatKernels;
}
namespace avx512 {
extern const Kernels<float> kFloatKernels;
}
namespace avx512_bf16 {
extern const Kernels<float> kFloatKernels;
extern const Kernels<bf16> kBf16Kernels;
}  // namespace avx512_bf16
#endif

template <>
const Kernels<float>& kernels_for([[maybe_unused]] std::string_view instruction_set) {
#if defined(__x86_64__)
    if (instruction_set.starts_with("avx512")) return avx512::kFloatKernels;
    if (instruction_set.starts_with("avx2") && __builtin_cpu_supports("fma")) return avx2::kFloatKernels;
#endif
    return baseline::kFloatKernels;
}

template <>
const Kernels<bf16>& kernels_for([[maybe_unused]] std::string_view instruction_set) {
#if defined(__x86_64__)
    if (instruction_set.starts_with("avx512") && __builtin_cpu_supports("avx512bf16"))
        return avx512_bf16::kBf16Kernels;
#endif
    throw EngineError("this processor does not compute in bfloat16; build the engine with `--dtype f32`");
}

}  // namespace assay::cpu
