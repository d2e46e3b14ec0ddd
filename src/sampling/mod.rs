//! Turns logits into tokens: sampling parameters, and the choice of each token.
//!
//! [`Sampler`] runs on the scheduler's thread, because the next iteration needs its token.

mod capabilities;
mod params;
mod sampled;
mod sampler;

pub use capabilities::{SamplingCapabilities, UnsupportedSampling};
pub use params::*;
pub use sampled::Sampled;
pub use sampler::{Sampler, SamplingError};
