//! Models that generate: built from a checkpoint, run by the CPU engine, compared with transformers.
mod deadlines;
mod defaults;
mod echo;
mod engine;
mod engines;
mod http;
pub(crate) mod language;
mod token_ids;
mod vllm;
