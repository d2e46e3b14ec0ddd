//! Turns logits into text: sampling parameters, the choice of each token, and the text of the tokens.
//!
//! [`Sampler`] runs on the scheduler's thread, because the next iteration needs its token.
//! [`TextStream`] runs where the response is written.

mod capabilities;
mod params;
mod sampled;
mod sampler;
mod text_stream;

pub use capabilities::{SamplingCapabilities, UnsupportedSampling};
pub use params::*;
pub use sampled::Sampled;
pub use sampler::{Sampler, SamplingError};
pub use text_stream::TextStream;
