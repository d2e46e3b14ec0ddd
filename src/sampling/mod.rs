//! Logits become text: sampling parameters, the choice of each token, and the text of the tokens as they come.
//!
//! [`Sampler`] works on the scheduler's thread, where the next iteration waits for its token;
//! [`TextStream`] where the answer is written.

mod params;
mod sampler;
mod text_stream;

pub use params::*;
pub use sampler::{Sampler, SamplingError};
pub use text_stream::TextStream;
