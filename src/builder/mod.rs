//! What `build-engine` does: it turns a Hugging Face checkpoint into an engine directory.
//!
//! Everything that can be wrong with a checkpoint is looked for before the first byte is written, except its
//! numbers, which are checked as they are converted. Tensors go through one at a time, and the output directory
//! appears only when it is complete.

mod adapter;
mod balance;
mod chat_template;
mod checkpoint;
mod config;
mod convert;
pub mod cpu;
mod engine_manifest;
mod error;
pub(crate) mod families;
mod foreign;
mod heads;
pub(crate) mod hub;
mod int8;
mod json;
mod language;
mod location;
mod options;
mod output;
mod pair_template;
mod plan;
mod progress;
mod source;
mod stored;
mod template_trials;
mod tensor_names;
mod text;
mod tokenizer;
pub mod trtllm;
mod weights;

pub use error::{BuildError, OutputError, ProcessError};
pub use hub::AddressError;
pub(crate) use location::inputs;
pub use options::{BuildOptions, CheckpointOptions, DEFAULT_MAX_SEQ_LEN};
pub use progress::{Console, Progress, Silent};
