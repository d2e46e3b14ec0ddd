//! Every metric name, and tracing.

mod gpus;
pub mod logs;
mod metrics;
pub mod names;
pub mod traces;

pub use metrics::{Answered, ConnectionEnd, Metrics};
