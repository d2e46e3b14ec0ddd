//! Integration tests, one module per topic. `cargo test --test it TOPIC` runs one of them.
//!
//! The scheduler under `shuttle` and the tests over TensorRT-LLM's stand-in are binaries of their own.
#![allow(clippy::needless_pass_by_value, clippy::unwrap_used, clippy::expect_used, unreachable_pub)]

mod generated_page;
mod support;

mod build_engine;
mod cache;
mod command_line;
mod engine_trait;
mod forms_table;
mod generation;
mod http;
mod invariance;
mod judges;
mod limits;
mod options_page;
mod outliers;
mod pairs;
mod parity;
mod profiles;
mod prompt_parity;
mod scheduler_core;
mod scheduler_cpu;
mod scheduler_handle;
mod scheduler_idle;
mod scheduler_restart;
mod simulation;
mod special_files;
mod steps;
