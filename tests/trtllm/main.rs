//! TensorRT-LLM engines over the stand-in: `make test-trtllm`.

mod engine;
mod http;
mod numbers;
#[path = "../http/server.rs"]
#[allow(dead_code, unreachable_pub)]
mod server;
mod support;
