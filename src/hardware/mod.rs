//! What this machine is: its processor, its GPUs, the ranks started on it; and which of several engines it runs.

pub mod cores;
pub mod gpus;
mod machine;
mod obstacle;
mod processor;
pub mod profiles;
mod quota;
mod ranks;
pub mod targets;

pub use gpus::{Gpu, Gpus};
pub use machine::Machine;
pub use obstacle::Obstacle;
pub use processor::Cpu;
pub use ranks::Ranks;
