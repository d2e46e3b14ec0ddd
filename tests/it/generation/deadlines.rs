//! Requests that are not answered in time by a model that generates.

use axum::http::StatusCode;
use serde_json::{Value, json};

use super::language::Server;

#[tokio::test]
async fn an_answer_that_comes_too_late_names_the_field_even_after_the_stream_has_started() {
    let server = Server::start("lm-head-tiny");
    let body = json!({
        "model": "tiny", "messages": [{"role": "user", "content": "What is a KV cache?"}], "max_tokens": 900,
        "ignore_eos": true, "n": 4, "stream": true, "timeout": 0.05,
    });
    let answer = server.ask("/v1/chat/completions", &body).await;
    // On a slow machine the time is over before the first token.
    let body: Value = match answer.status {
        StatusCode::GATEWAY_TIMEOUT => answer.json(),
        _ => serde_json::from_str(answer.text.rsplit("data: ").next().unwrap()).unwrap(),
    };
    let error = &body["error"];
    assert_eq!(
        (&error["code"], &error["param"]),
        (&json!("deadline_exceeded"), &json!("timeout")),
        "{error}"
    );
}
