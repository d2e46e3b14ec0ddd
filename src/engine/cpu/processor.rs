//! What a processor can compute, which decides the engines that run on it.

use crate::engine::bridge::ffi;
use crate::manifest::{Dtype, Manifest, Target};

/// Version of oneDNN, for example `2.6.3`. Versions differ in how they lay out weights.
pub fn onednn_version() -> String {
    ffi::onednn_version().unwrap_or_else(|_| "unknown".into())
}

/// The instruction set that oneDNN compiles for on this machine: oneDNN's name for it, in lower case.
pub fn instruction_set() -> String {
    ffi::instruction_set().unwrap_or_else(|_| "unknown".into())
}

/// Whether the processor has bfloat16 products.
pub fn supports_bf16() -> bool {
    ffi::supports_bf16().unwrap_or(false)
}

/// Whether the processor has sums of int8 products.
pub fn supports_int8() -> bool {
    ffi::supports_int8().unwrap_or(false)
}

/// The facts about a processor that decide which engines run on it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Processor {
    /// [`instruction_set`].
    pub instruction_set: String,
    /// [`onednn_version`].
    pub onednn: String,
    /// [`supports_bf16`].
    pub bf16: bool,
    /// [`supports_int8`].
    pub int8: bool,
}

impl Processor {
    /// The processor of this machine.
    pub fn detect() -> Self {
        Self {
            instruction_set: instruction_set(),
            onednn: onednn_version(),
            bf16: supports_bf16(),
            int8: supports_int8(),
        }
    }

    /// Why an engine does not run on this processor and what to do, as a sentence that lacks its subject, the
    /// engine; `None` if it runs.
    pub fn obstacle(&self, manifest: &Manifest) -> Option<String> {
        let Self { instruction_set: here, onednn: version, .. } = self;
        let built_with = &manifest.built_with.onednn;
        let reason = match &manifest.target {
            Target::TensorrtLlm(_) => "was built for NVIDIA GPUs".to_owned(),
            Target::Cpu { instruction_set: built_for } if built_for != here => {
                format!("was built for processors with {built_for}, this one has {here}")
            }
            _ if built_with != version => {
                format!("was built with oneDNN {built_with}, this server runs {version}")
            }
            _ if manifest.dtype == Dtype::Bf16 && !self.bf16 => {
                "computes in bfloat16, which this processor does not".to_owned()
            }
            _ if manifest.dtype == Dtype::Int8 && !self.int8 => {
                "computes in int8, which this processor does not".to_owned()
            }
            _ => return None,
        };
        Some(format!("{reason}; run `build-engine --target cpu` on this machine to build it again"))
    }
}
