//! TensorRT-LLM engines on NVIDIA GPUs, driven in process.
//!
//! The library takes whole sequences and makes iterations of them itself, so the engine is fed: the
//! scheduler hands sequences over as there is room for them, and a thread of the engine's reports
//! what becomes of each as it comes. Which prefixes are shared is the library's own affair: its
//! capacity scheduler (`beneficialToSkip` in NVIDIA's `capacityScheduler.cpp`) holds a sequence back
//! while another computes the first block that it does not find, and blocks are found as soon as the
//! context phase that computes them has ended. So a prompt is computed once however its responses come,
//! and holding them back here would only leave the GPU idle meanwhile.
//!
//! A request gives the logits after its last token only, and of a head its first layer's: a sequence that
//! is read in several places is several requests, and the layers above are computed here.

mod backend;
#[cfg(feature = "trtllm")]
mod batch;
#[cfg(feature = "trtllm")]
mod factory;
#[cfg(any(test, feature = "trtllm"))]
mod fan_out;
#[cfg(feature = "trtllm")]
mod running;

pub(super) use backend::Backend;
#[cfg(feature = "trtllm")]
pub use factory::{TrtllmFactory, exit_now};
