//! TensorRT-LLM engines over the stand-in: `make test-trtllm`. Every test of the HTTP surface runs over them too.
#![allow(
    clippy::needless_pass_by_value,
    clippy::unwrap_used,
    clippy::expect_used,
    dead_code,
    unreachable_pub
)]

mod engine;
mod engine_directory;
mod engines;
mod generation;
mod http;
mod job;
mod model;
mod numbers;
mod positions;
mod ranks;

#[path = "../it/support/mod.rs"]
mod support;

#[path = "../it/generation/http.rs"]
mod generating;
#[path = "../it/generation/language.rs"]
mod language;

#[path = "../it/http/answers.rs"]
mod answers;
#[path = "../it/http/bad_input.rs"]
mod bad_input;
#[path = "../it/http/compat.rs"]
mod compat;
#[path = "../it/http/failures.rs"]
mod failures;
#[path = "../it/http/models.rs"]
mod models;
#[path = "../it/http/rewards.rs"]
mod rewards;
#[path = "../it/http/server.rs"]
mod server;
#[path = "../it/http/service.rs"]
mod service;
#[path = "../it/http/steps.rs"]
mod steps;
#[path = "../it/http/truncation.rs"]
mod truncation;
