//! How conversations that are too long are truncated, and what the response says about it.

use assay::prompt::Truncation;
use axum::http::StatusCode;
use serde_json::{Value, json};

use super::engines::instant;
use super::server::{MODEL, Server};

/// A conversation that is longer than the engine takes, by its older turns.
fn long() -> Value {
    let mut messages = vec![json!({"role": "system", "content": "Be brief."})];
    for turn in 0..8 {
        messages
            .push(json!({"role": "user", "content": format!("Question {turn}: {}", "and why ".repeat(4))}));
        messages.push(json!({"role": "assistant", "content": "Because it is so."}));
    }
    messages.into()
}

fn request(truncation: &str) -> Value {
    json!({"model": MODEL, "messages": long(), "truncation": truncation})
}

#[tokio::test]
async fn a_conversation_that_is_too_long_is_refused_unless_the_request_says_otherwise() {
    let server = Server::start();
    for request in [json!({"model": MODEL, "messages": long()}), request("error")] {
        let answer = server.chat(request).await;
        assert_eq!(
            (answer.status, answer.code().as_str()),
            (StatusCode::BAD_REQUEST, "context_length_exceeded")
        );
    }
    let unknown = server.chat(request("middle")).await;
    assert_eq!(
        (unknown.status, &unknown.json()["error"]["param"]),
        (StatusCode::BAD_REQUEST, &json!("truncation"))
    );
}

#[tokio::test]
async fn a_conversation_cut_to_its_last_turns_has_their_score_and_the_response_says_so() {
    let server = Server::start();
    let answer = server.chat(request("oldest_turns")).await;
    assert_eq!(answer.status, StatusCode::OK, "{}", answer.text);
    let cut = answer.json()["truncated"].clone();
    assert_eq!(cut["strategy"], "oldest_turns");
    assert_eq!(answer.headers["x-truncated-tokens"], cut["tokens_removed"].to_string().as_str());

    let mut kept = long();
    let turns = cut["turns_removed"].as_u64().unwrap() as usize;
    kept.as_array_mut().unwrap().drain(1..=turns);
    let whole = server.chat(json!({"model": MODEL, "messages": kept})).await;
    assert!(whole.json().get("truncated").is_none() && !whole.headers.contains_key("x-truncated-tokens"));
    assert_eq!(answer.json()["choices"], whole.json()["choices"]);
    let metrics = server.get("/metrics").await.text;
    assert!(metrics.contains("request_truncations_total{strategy=\"oldest_turns\""), "{metrics}");
}

#[tokio::test]
async fn a_response_that_is_too_long_by_itself_is_refused_though_turns_may_be_dropped() {
    let server = Server::start();
    let mut messages = long();
    messages[16]["content"] = "too long ".repeat(200).into();
    let request = json!({"model": MODEL, "messages": messages, "truncation": "oldest_turns"});
    let answer = server.chat(request).await;
    assert_eq!((answer.status, answer.code().as_str()), (StatusCode::BAD_REQUEST, "context_length_exceeded"));
}

#[tokio::test]
async fn the_servers_truncation_is_the_default_and_each_candidate_reports_its_own() {
    let server = Server::with(|settings| settings.server.truncation = Truncation::Left, instant());
    let answer = server.chat(json!({"model": MODEL, "messages": long()})).await.json();
    assert_eq!(answer["truncated"]["strategy"], "left");
    assert_eq!(answer["usage"]["prompt_tokens"], 256);
    let short = json!([{"role": "user", "content": "Hello"}, {"role": "assistant", "content": "Good day"}]);
    let both = server.ask("/v1/rewards", json!({"conversations": [short, long()]})).await.json();
    assert!(both["data"][0].get("truncated").is_none());
    assert_eq!(both["data"][1]["truncated"], answer["truncated"]);
    let refused = server.chat(request("error")).await;
    assert_eq!(refused.code(), "context_length_exceeded");
}

#[tokio::test]
async fn two_fields_that_say_how_texts_are_cut_exclude_each_other() {
    let server = Server::start();
    let ranking = json!({"query": {"text": "a"}, "passages": [{"text": "b"}], "truncate": "END"});
    for (path, request, own) in [
        ("/v1/ranking", ranking, "truncate"),
        ("/rerank", json!({"query": "a", "texts": ["b"], "truncate": true}), "truncate"),
        ("/predict", json!({"inputs": "a", "truncate": true}), "truncate"),
        ("/v1/score/evaluation", json!({"messages": ["a"], "max_length": 5}), "max_length"),
    ] {
        for (name, value) in [("truncation", json!("left")), ("truncate_prompt_tokens", json!(5))] {
            let mut both = request.clone();
            both[name] = value;
            let refused = server.ask(path, both).await;
            let message = refused.json()["error"]["message"].as_str().unwrap_or_default().to_owned();
            assert!(
                message.starts_with(&format!("`{name}` cannot be combined with `{own}`")),
                "{path}: {}",
                refused.text
            );
        }
        let mut side = request;
        side["truncation_side"] = json!("left");
        assert_eq!(server.ask(path, side).await.status, StatusCode::OK, "{path}");
    }
}
