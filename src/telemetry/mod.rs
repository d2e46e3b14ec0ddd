//! Metrics, traces and log lines.

mod gpus;
pub mod logs;
mod metrics;
mod names;
mod registrar;
pub mod traces;

pub use metrics::{Answered, ConnectionEnd, Metrics};
