//! The HTTP surface as a client sees it, over a simulated engine: everything before the
//! engine is real, and its logits are a hash of the tokens.

mod answers;
mod bad_input;
mod bodies;
mod compat;
mod drift;
mod encoders;
mod engines;
mod failures;
mod field_names;
mod foreign_servers;
mod models;
mod neutral;
mod openapi;
mod peers;
mod pooling;
mod prompt_ends;
mod rankings;
mod raw_steps;
mod rewards;
mod score_servers;
mod server;
mod service;
mod sglang;
mod simulation;
mod steps;
mod template_variables;
mod token_ids;
mod truncation;
mod words;
