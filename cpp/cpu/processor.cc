#include "cpu/processor.h"

#include "cpu/matmul.h"

namespace assay::bridge {

rust::String onednn_version() { return cpu::onednn_version(); }

rust::String instruction_set() { return cpu::instruction_set(); }

bool supports_bf16() { return cpu::supports_bf16(); }

bool supports_int8() { return cpu::supports_int8(); }

}  // namespace assay::bridge
