//! Assay serves reward models: a request brings a conversation, the answer says what its last
//! response is worth, attribute by attribute.
//!
//! A request passes through the modules in this order: [`api`] reads it, [`serving`] owns the loaded model,
//! [`prompt`] makes token ids of it, [`scheduler`] batches it in flight, [`engine`] computes its logits and
//! [`reward`] turns them into scores. [`score`] scores files in place of requests, also over [`serving`].
//! [`sampling`] makes text of the logits of models that generate. [`builder`] makes engines offline. A module
//! imports only those after it; the one exception is the scheduler, which samples tokens by [`sampling`].

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
mod report;
pub mod reward;
pub mod sampling;
pub mod scheduler;
pub mod score;
pub mod serving;
pub mod telemetry;
