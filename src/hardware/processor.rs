//! This machine's processor, as oneDNN sees it.

/// What decides which CPU engines a processor runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cpu {
    /// The instruction set that oneDNN compiles for, as it names it, in lower case: for example `avx512_core_bf16`.
    pub instruction_set: String,
    /// Version of the oneDNN that this binary runs with, for example `2.6.3`. Another one may lay weights out
    /// differently.
    pub onednn: String,
    /// Whether it multiplies bfloat16 natively.
    pub bf16: bool,
    /// Whether it sums int8 products natively.
    pub int8: bool,
}

impl Cpu {
    /// This machine's processor.
    pub fn detect() -> Self {
        Self {
            instruction_set: ffi::instruction_set().unwrap_or_else(|_| "unknown".into()),
            onednn: ffi::onednn_version().unwrap_or_else(|_| "unknown".into()),
            bf16: ffi::supports_bf16().unwrap_or(false),
            int8: ffi::supports_int8().unwrap_or(false),
        }
    }
}

// cxx makes its items public.
#[allow(unreachable_pub)]
#[cxx::bridge(namespace = "assay::bridge")]
mod ffi {
    unsafe extern "C++" {
        include!("assay/cpp/cpu/processor.h");

        fn onednn_version() -> Result<String>;
        fn instruction_set() -> Result<String>;
        fn supports_bf16() -> Result<bool>;
        fn supports_int8() -> Result<bool>;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_processor_and_onednn_are_known() {
        let cpu = Cpu::detect();
        assert_ne!(cpu.instruction_set, "unknown");
        assert!(cpu.onednn.split('.').all(|part| part.parse::<u32>().is_ok()), "{}", cpu.onednn);
    }
}
