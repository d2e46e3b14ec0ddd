//! Requests that a model that generates does not answer in time, or refuses at once.

use assay::manifest::Dtype;
use axum::http::StatusCode;
use serde_json::{Value, json};

use super::language::{Built, Server};

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

#[tokio::test]
async fn a_full_queue_refuses_a_prompt_before_it_is_encoded() {
    let server = Server::of(Built::new("lm-head-tiny", Dtype::F32), |settings| {
        settings.scheduling.max_queue_requests = 0;
    });
    let long = "word ".repeat(20_000);
    for (path, body) in [
        ("/v1/chat/completions", json!({"messages": [{"role": "user", "content": long}]})),
        ("/v1/completions", json!({"prompt": long})),
        ("/v1/score", json!({"query": long, "items": ["a"], "label_token_ids": [5, 7]})),
    ] {
        let refused = server.ask(path, &body).await;
        assert_eq!(refused.status, StatusCode::TOO_MANY_REQUESTS, "{path}: {}", refused.text);
    }
}
