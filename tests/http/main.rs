//! The HTTP surface as a client sees it, over a simulated engine: what stands in front of the
//! engine is real, its logits are a hash of the tokens.
#![allow(unreachable_pub)]

mod answers;
mod bad_input;
mod engines;
mod failures;
mod models;
mod peers;
mod rewards;
mod server;
mod service;
mod steps;
mod truncation;
