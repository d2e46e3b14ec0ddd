//! What this machine is, and which engine runs on it: GPUs, processors, targets, profiles.

pub mod gpus;
pub mod machine;
mod profile_name;
pub mod profiles;
pub mod targets;

pub use profile_name::profile_name;
