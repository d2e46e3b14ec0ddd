// What Rust asks about the processor and oneDNN.
#pragma once

#include "rust_bridge.h"

namespace assay::bridge {

rust::String onednn_version();
rust::String instruction_set();
bool supports_bf16();
bool supports_int8();

}  // namespace assay::bridge
