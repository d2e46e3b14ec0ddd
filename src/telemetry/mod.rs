//! Every metric name, and tracing.

pub mod logs;
mod metrics;
pub mod names;

pub use metrics::{Answered, Metrics};
