//! This machine, and what this binary can do on it.

use super::{Cpu, Gpus, Ranks};

/// What engines may need of a machine.
#[derive(Clone, Debug)]
pub struct Machine {
    /// The instruction set and the oneDNN that the processor runs with.
    pub cpu: Cpu,
    /// Its GPUs.
    pub gpus: Gpus,
    /// Whether this binary can drive TensorRT-LLM.
    pub trtllm: bool,
    /// Whether its TensorRT-LLM computes on GPUs; the tests' stand-in for it needs none.
    pub needs_gpus: bool,
    /// This process's place among ranks, if it was started as one.
    pub ranks: Option<Ranks>,
}

impl Machine {
    /// This machine.
    pub fn detect() -> Self {
        Self {
            cpu: Cpu::detect(),
            gpus: Gpus::detect(),
            trtllm: cfg!(feature = "trtllm"),
            needs_gpus: !cfg!(feature = "trtllm-stand-in"),
            ranks: Ranks::detect(),
        }
    }
}
