//! Models as users name them: an engine directory is used as it is, and a checkpoint is built for this machine's
//! processor first, into a cache, from which the next start takes it.

pub mod cli;
mod download;
mod error;
mod key;
mod named;
mod options;
mod prepare;
mod progress;
mod store;

pub use error::ModelError;
pub use options::ModelOptions;
pub use prepare::{Prepared, check_engines, is_engine, prepare};
pub use progress::LoggedProgress;
