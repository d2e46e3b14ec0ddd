//! Assay serves reward models: a request brings a conversation, the answer says what its last
//! response is worth, attribute by attribute.
//!
//! The modules stand in the order of a request's way: [`api`] takes it, [`prompt`] makes token ids
//! of it, [`scheduler`] batches it in flight, [`engine`] computes its logits, [`reward`] turns them
//! into scores. [`sampling`] makes text of the logits of models that generate. [`builder`] makes engines
//! offline. Nothing imports a module to its left, but that the scheduler chooses tokens by [`sampling`].

#![warn(clippy::unwrap_used, clippy::expect_used)]

// So that what tests share can be compiled into the library's own.
#[cfg(test)]
extern crate self as assay;

pub mod api;
pub mod bench;
pub mod builder;
pub mod cli;
pub mod config;
pub mod engine;
pub mod hardware;
pub mod manifest;
pub mod prompt;
pub mod report;
pub mod reward;
pub mod sampling;
pub mod scheduler;
pub mod score;
pub mod telemetry;
