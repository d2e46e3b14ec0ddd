//! TensorRT-LLM engines on NVIDIA GPUs, driven in process.
//!
//! The library takes whole sequences and batches them itself, so the scheduler feeds it sequences as there is room
//! for them, and a thread reports what becomes of each. The library also decides which prefixes are shared: its
//! capacity scheduler (`beneficialToSkip` in NVIDIA's `capacityScheduler.cpp`) holds a sequence back
//! while another computes the first block that it does not find, and blocks are found as soon as the
//! context phase that computes them has ended. So a prompt is computed once whenever its responses arrive,
//! and holding them back here would only leave the GPU idle.
//!
//! A request returns the logits after its last token only, and those of a head's first layer. A sequence that
//! is read at several positions therefore becomes several requests, and the layers above are computed here.

mod backend;
#[cfg(feature = "trtllm")]
mod batch;
#[cfg(any(test, feature = "trtllm"))]
mod clock;
#[cfg(feature = "trtllm")]
mod factory;
#[cfg(any(test, feature = "trtllm"))]
mod fan_out;
#[cfg(feature = "trtllm")]
mod running;

pub(super) use backend::TrtllmBackend;
#[cfg(feature = "trtllm")]
pub use factory::TrtllmFactory;
