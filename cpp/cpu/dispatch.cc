// Chooses kernels by instruction set.
#include "kernels.h"

namespace assay::cpu {

namespace baseline {
extern const Kernels<float> kFloatKernels;
}
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

template <>
const Kernels<float>& kernels_for(std::string_view instruction_set) {
    if (instruction_set.starts_with("avx512")) return avx512::kFloatKernels;
    if (instruction_set.starts_with("avx2") && __builtin_cpu_supports("fma")) return avx2::kFloatKernels;
    return baseline::kFloatKernels;
}

template <>
const Kernels<bf16>& kernels_for(std::string_view instruction_set) {
    if (!instruction_set.starts_with("avx512") || !__builtin_cpu_supports("avx512bf16"))
        throw EngineError("this processor does not compute in bfloat16; build the engine with `--dtype f32`");
    return avx512_bf16::kBf16Kernels;
}

}  // namespace assay::cpu
