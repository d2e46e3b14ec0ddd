//! Every route names its own field in an error, in `param` and in the sentence.

use serde_json::{Value, json};

use super::engines::instant;
use super::server::{MODEL, Server};

fn long() -> String {
    "more ".repeat(300)
}

fn turn(role: &str, content: impl Into<String>) -> Value {
    json!({"role": role, "content": content.into()})
}

/// A conversation that is longer than the engine accepts.
fn long_conversation() -> Value {
    json!([turn("user", "Hello"), turn("assistant", long())])
}

/// A conversation with a role that is not a string.
fn bad_role() -> Value {
    json!([turn("user", "Hello"), {"role": 5, "content": "beep"}])
}

fn assert_names(error: &Value, field: &str, path: &str) {
    assert_eq!(error["param"], field, "{path}: {error}");
    let message = error["message"].as_str().unwrap();
    assert!(message.starts_with(&format!("`{field}`")), "{path}: {message}");
}

#[tokio::test]
async fn a_text_that_is_at_fault_is_named_by_the_field_it_came_from() {
    let server = Server::start();
    let (long, bad_role, long_conversation) = (long(), bad_role(), long_conversation());
    for (path, body, field) in [
        ("/v1/chat/completions", json!({"model": MODEL, "messages": long_conversation}), "messages"),
        ("/v1/chat/completions", json!({"model": MODEL, "messages": bad_role}), "messages[1].role"),
        ("/get_reward", json!({"query": ["a", long]}), "query[1]"),
        ("/slime/reward", json!({"prompt": "Hello", "response": long}), "response"),
        ("/slime/reward", json!({"prompt": long, "response": "a"}), "prompt"),
        ("/slime/reward", json!({"prompt": bad_role, "response": "a"}), "prompt[1].role"),
        ("/classify", json!({"input": long}), "input"),
        ("/classify", json!({"input": ["a", long]}), "input[1]"),
        ("/classify", json!({"input": [[1], [640]]}), "input[1][0]"),
        ("/classify", json!({"messages": bad_role}), "messages[1].role"),
        ("/pooling", json!({"input": ["a", long]}), "input[1]"),
        ("/pooling", json!({"messages": long_conversation}), "messages"),
        ("/v1/embeddings", json!({"input": ["a", long]}), "input[1]"),
        ("/v1/embeddings", json!({"messages": bad_role}), "messages[1].role"),
        ("/predict", json!({"inputs": long}), "inputs"),
        ("/predict", json!({"inputs": [["a"], ["Hello", long]]}), "inputs[1][1]"),
        ("/predict", json!({"inputs": [[long, "a"]]}), "inputs[0][0]"),
        ("/rerank", json!({"query": "Hello", "documents": ["a", long]}), "documents[1]"),
        ("/rerank", json!({"query": "Hello", "texts": ["a", "b", long]}), "texts[2]"),
        ("/v1/rerank", json!({"query": long, "documents": ["a"]}), "query"),
        ("/v1/ranking", json!({"query": {"text": long}, "passages": [{"text": "a"}]}), "query"),
        ("/v1/ranking", json!({"query": {"text": "a"}, "passages": [{"text": long}]}), "passages[0]"),
        ("/score", json!({"text_1": long, "text_2": ["a"]}), "text_1"),
        ("/score", json!({"text_1": ["a", long], "text_2": ["a", "b"]}), "text_1[1]"),
        ("/v1/score", json!({"text_1": "a", "text_2": ["b", long]}), "text_2[1]"),
        ("/v1/score", json!({"query": long, "items": ["a"]}), "query"),
        ("/v1/score", json!({"query": "a", "items": ["b", long]}), "items[1]"),
        ("/classify", json!({"text": ["a", ["Hello", long]]}), "text[1][1]"),
        ("/v1/reward", json!({"messages": long_conversation}), "messages"),
        ("/v1/rewards", json!({"messages": bad_role, "responses": ["a"]}), "messages[1].role"),
        ("/tokenize", json!({"messages": bad_role}), "messages[1].role"),
    ] {
        let answer = server.ask(path, body).await;
        assert_eq!(answer.status, 400, "{path}: {}", answer.text);
        assert_names(&answer.json()["error"], field, path);
    }
}

#[tokio::test]
async fn each_candidate_is_named_by_its_own_field() {
    let server = Server::start();
    let route = "/v1/rewards";
    for (body, index, field) in [
        (json!({"messages": [turn("user", "Hello")], "responses": ["a", long()]}), 1, "responses[1]"),
        (json!({"messages": [turn("user", long())], "responses": ["a"]}), 0, "messages"),
        (json!({"conversations": [[turn("user", "Hello")], long_conversation()]}), 1, "conversations[1]"),
        (json!({"conversations": [[turn("user", "a")], bad_role()]}), 1, "conversations[1][1].role"),
    ] {
        let answer = server.ask(route, body).await;
        assert_names(&answer.json()["data"][index]["error"], field, route);
    }
}

#[tokio::test]
async fn a_strict_server_names_the_turn_that_is_not_the_assistants() {
    let server = Server::with(|settings| settings.server.require_assistant_turn = true, instant());
    let messages = json!([turn("user", "Hello")]);
    for (path, body) in [
        ("/v1/chat/completions", json!({"model": MODEL, "messages": messages})),
        ("/classify", json!({"messages": messages})),
        ("/v1/reward", json!({"messages": messages})),
    ] {
        let answer = server.ask(path, body).await;
        assert_names(&answer.json()["error"], "messages[0].role", path);
    }
}

#[tokio::test]
async fn a_wrong_header_is_named() {
    let server = Server::start();
    let request = axum::http::Request::post("/classify").header("X-Priority", "soon");
    let answer = server.send(request.body(json!({"input": "a"}).to_string().into()).unwrap()).await;
    assert_names(&answer.json()["error"], "X-Priority", "/classify");
}
