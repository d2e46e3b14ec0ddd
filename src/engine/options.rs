//! What can be chosen when an engine is opened.

use std::time::Duration;

use crate::manifest::LimitOverrides;

/// Options of an engine, of whichever backend.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct EngineOptions {
    /// Threads of the CPU engine; one for each core unless given.
    pub threads: Option<usize>,
    /// Tokens that the KV cache holds; by default what the GPU options say, or on a CPU an eighth of the weights'
    /// size, but at least the longest sequence and two full iterations. With that default a CPU engine keeps no more
    /// than an eighth of the weights' size or two iterations for shared prefixes.
    pub kv_cache_tokens: Option<usize>,
    /// Lower limits than the engine was built with.
    pub limits: LimitOverrides,
    /// What only engines on GPUs have.
    pub gpu: GpuOptions,
}

/// Options of an engine on GPUs.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct GpuOptions {
    /// Fraction of the GPU memory free after loading that the KV cache takes, unless its tokens are given; 0 to 1.
    pub kv_cache_fraction: f32,
    /// Host memory for KV blocks that no longer fit the GPUs', in bytes.
    pub kv_cache_host_bytes: usize,
    /// Whether sequences with equal prefixes share KV blocks.
    pub block_reuse: bool,
    /// Whether a long prompt may be spread over several iterations.
    pub chunked_context: bool,
    /// How long the library may hold a sequence, including the time in its queue; unlimited by default.
    pub allotted: Option<Duration>,
    /// Host memory in bytes for returned logits, on each rank.
    pub logits_host_bytes: usize,
}

impl Default for GpuOptions {
    fn default() -> Self {
        Self {
            kv_cache_fraction: 0.9,
            kv_cache_host_bytes: 0,
            block_reuse: true,
            chunked_context: true,
            allotted: None,
            logits_host_bytes: 4 << 30,
        }
    }
}
