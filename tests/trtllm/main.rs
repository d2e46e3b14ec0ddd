//! TensorRT-LLM engines over the stand-in: `make test-trtllm`. Every test of the HTTP surface runs over them too.
#![allow(dead_code, unreachable_pub)]

mod engine;
mod engines;
mod generation;
mod http;
mod job;
mod model;
mod numbers;
mod places;
mod ranks;
mod support;

#[path = "../support/driver.rs"]
mod driver;

#[path = "../support/engine_suite.rs"]
mod engine_suite;
#[path = "../support/golden.rs"]
mod golden;

#[path = "../generation/http.rs"]
mod generating;
#[path = "../generation/language.rs"]
mod language;

#[path = "../http/answers.rs"]
mod answers;
#[path = "../http/bad_input.rs"]
mod bad_input;
#[path = "../http/failures.rs"]
mod failures;
#[path = "../http/models.rs"]
mod models;
#[path = "../http/peers.rs"]
mod peers;
#[path = "../http/rewards.rs"]
mod rewards;
#[path = "../http/server.rs"]
mod server;
#[path = "../http/service.rs"]
mod service;
#[path = "../http/steps.rs"]
mod steps;
#[path = "../http/truncation.rs"]
mod truncation;
