//! The routes of models that generate.

use axum::http::StatusCode;
use futures_util::StreamExt;
use serde_json::{Value, json};

use super::language::{Golden, Server};

const CHAT: &str = "/v1/chat/completions";
const TEXT: &str = "/v1/completions";

/// A request of some random tokens that are the same each time.
fn chat(change: Value) -> Value {
    let mut body = json!({
        "model": "tiny",
        "messages": [{"role": "user", "content": "What is a KV cache?"}],
        "max_tokens": 16,
        "seed": 5,
        "ignore_eos": true,
    });
    merge(&mut body, change);
    body
}

fn text(change: Value) -> Value {
    let mut body =
        json!({"model": "tiny", "prompt": "The capital", "max_tokens": 12, "seed": 3, "ignore_eos": true});
    merge(&mut body, change);
    body
}

fn merge(body: &mut Value, change: Value) {
    for (name, value) in change.as_object().unwrap() {
        body[name] = value.clone();
    }
}

fn content(choice: &Value) -> &str {
    choice["message"]["content"].as_str().unwrap()
}

#[tokio::test]
async fn a_greedy_answer_has_the_tokens_of_transformers() {
    let server = Server::start("lm-head-tiny");
    for case in Golden::read("lm-head-tiny").chats {
        let body = json!({
            "model": "tiny", "messages": case.messages, "temperature": 0, "max_tokens": 24,
            "ignore_eos": true, "logprobs": true, "top_logprobs": 3, "skip_special_tokens": false,
        });
        let answer = server.ask(CHAT, &body).await;
        assert_eq!(answer.status, StatusCode::OK, "{}", answer.text);
        let answer = answer.json();
        let choice = &answer["choices"][0];
        let ids = server.ask("/detokenize", &json!({"tokens": case.tokens})).await.json();
        assert_eq!(content(choice), ids["prompt"].as_str().unwrap());
        assert_eq!(choice["finish_reason"], "length");
        assert_eq!(answer["usage"]["prompt_tokens"], case.prompt.len());
        assert_eq!(answer["usage"]["completion_tokens"], 24);
        let logprobs = choice["logprobs"]["content"].as_array().unwrap();
        assert_eq!(logprobs.len(), 24);
        for (entry, expected) in logprobs.iter().zip(&case.logprobs) {
            assert!((entry["logprob"].as_f64().unwrap() - f64::from(*expected)).abs() < 1e-3);
            assert_eq!(entry["top_logprobs"][0]["logprob"], entry["logprob"]);
            assert_eq!(entry["top_logprobs"].as_array().unwrap().len(), 3);
        }
    }
}

#[tokio::test]
async fn a_stream_says_what_the_whole_answer_says() {
    let server = Server::start("lm-head-tiny");
    for change in [json!({}), json!({"logprobs": true}), json!({"n": 3}), json!({"stop": ["a", "e"]})] {
        let mut body = chat(change);
        let whole = server.ask(CHAT, &body).await.json();
        merge(&mut body, json!({"stream": true, "stream_options": {"include_usage": true}}));
        let answer = server.ask(CHAT, &body).await;
        let chunks = answer.chunks();
        let choices = whole["choices"].as_array().unwrap();
        for (index, choice) in choices.iter().enumerate() {
            let mine = chunks.iter().flat_map(|chunk| chunk["choices"].as_array().unwrap());
            let mine: Vec<_> = mine.filter(|choice| choice["index"] == index).collect();
            let streamed: String =
                mine.iter().filter_map(|choice| choice["delta"]["content"].as_str()).collect();
            assert_eq!(streamed, content(choice));
            assert_eq!(mine[0]["delta"]["role"], "assistant");
            assert_eq!(mine.last().unwrap()["finish_reason"], choice["finish_reason"]);
            let tokens = mine.iter().filter_map(|choice| choice["logprobs"]["content"].as_array()).flatten();
            let whole_tokens = choice["logprobs"]["content"].as_array().into_iter().flatten();
            assert_eq!(tokens.collect::<Vec<_>>(), whole_tokens.collect::<Vec<_>>());
        }
        let (last, before) = chunks.split_last().unwrap();
        assert_eq!(last["choices"], json!([]));
        assert_eq!(last["usage"]["completion_tokens"], whole["usage"]["completion_tokens"]);
        assert!(before.iter().all(|chunk| chunk["usage"].is_null()));
    }
}

#[tokio::test]
async fn a_seed_gives_its_answer_again_and_n_gives_different_ones() {
    let server = Server::start("lm-head-tiny");
    let ask = async |change| server.ask(CHAT, &chat(change)).await.json();
    let (first, again) = (ask(json!({"n": 4})).await, ask(json!({"n": 4})).await);
    assert_eq!(first["choices"], again["choices"]);
    assert_eq!(content(&ask(json!({})).await["choices"][0]), content(&first["choices"][0]));
    assert_ne!(content(&first["choices"][0]), content(&first["choices"][1]));
    assert_ne!(content(&ask(json!({"seed": 6})).await["choices"][0]), content(&first["choices"][0]));
}

#[tokio::test]
async fn a_stop_string_ends_the_text_before_it() {
    let server = Server::start("lm-head-tiny");
    let whole = server.ask(TEXT, &text(json!({}))).await.json();
    let whole = whole["choices"][0]["text"].as_str().unwrap().to_owned();
    let characters: Vec<char> = whole.chars().collect();
    let stop: String = characters[characters.len() / 2..characters.len() / 2 + 3].iter().collect();
    let answer = server.ask(TEXT, &text(json!({"stop": stop}))).await.json();
    assert_eq!(answer["choices"][0]["text"], whole[..whole.find(&stop).unwrap()]);
    assert_eq!(answer["choices"][0]["finish_reason"], "stop");
}

#[tokio::test]
async fn completions_take_texts_and_token_ids_and_echo_them() {
    let server = Server::start("lm-head-tiny");
    let ids = server.ask("/tokenize", &json!({"prompt": "The capital"})).await.json();
    assert_eq!(ids["count"], ids["tokens"].as_array().unwrap().len());
    let one = server.ask(TEXT, &text(json!({}))).await.json();
    let of_ids = server.ask(TEXT, &text(json!({"prompt": ids["tokens"]}))).await.json();
    assert_eq!(one["choices"], of_ids["choices"]);
    let two = server.ask(TEXT, &text(json!({"prompt": ["The capital", "Once"], "n": 2}))).await.json();
    assert_eq!(two["choices"].as_array().unwrap().len(), 4);
    assert_eq!(two["choices"][0]["text"], one["choices"][0]["text"]);
    let echoed = server.ask(TEXT, &text(json!({"echo": true}))).await.json();
    let expected = format!("The capital{}", one["choices"][0]["text"].as_str().unwrap());
    assert_eq!(echoed["choices"][0]["text"], expected);
    let logprobs = server.ask(TEXT, &text(json!({"logprobs": 2}))).await.json();
    let logprobs = &logprobs["choices"][0]["logprobs"];
    for list in ["tokens", "token_logprobs", "top_logprobs", "text_offset"] {
        assert_eq!(logprobs[list].as_array().unwrap().len(), 12, "{list}");
    }
}

#[tokio::test]
async fn what_is_not_supported_is_refused_by_name() {
    let server = Server::start("lm-head-tiny");
    for (name, value) in [
        ("tools", json!([{"type": "function"}])),
        ("response_format", json!({"type": "json_schema"})),
        ("audio", json!({"voice": "alloy"})),
        ("best_of", json!(3)),
        ("n", json!(0)),
        ("temperature", json!(-1)),
        ("top_p", json!(0)),
        ("presence_penalty", json!(3)),
        ("logit_bias", json!([1])),
        ("stop", json!(["a", "b", "c", "d", "e"])),
        ("max_tokens", json!(0)),
        ("top_logprobs", json!(2)),
        ("stream_options", json!({"include_usage": true})),
        ("no_such_field", json!(1)),
    ] {
        let answer = server.ask(CHAT, &chat(json!({name: value}))).await;
        assert_eq!(answer.status, StatusCode::BAD_REQUEST, "{name}: {}", answer.text);
        assert_eq!(answer.json()["error"]["param"], name, "{}", answer.text);
    }
    let answer = server.ask(TEXT, &text(json!({"suffix": "x"}))).await;
    assert_eq!(answer.json()["error"]["param"], "suffix");
    let answer = server.ask(CHAT, &chat(json!({"max_tokens": 100_000}))).await;
    assert_eq!(answer.json()["error"]["code"], "context_length_exceeded", "{}", answer.text);
    let answer = server.ask("/v1/rewards", &chat(json!({}))).await;
    assert_eq!(answer.status, StatusCode::BAD_REQUEST);
}

#[tokio::test]
async fn a_client_that_hangs_up_cancels_its_answer() {
    let server = Server::start("lm-head-tiny");
    let body = chat(json!({"stream": true, "max_tokens": 900}));
    let mut stream = server.begin(CHAT, &body).await.into_body().into_data_stream();
    assert!(stream.next().await.unwrap().is_ok());
    drop(stream);
    server.handle.drain();
    server.handle.drained().await;
    let metrics = server.app.metrics.render().unwrap();
    let cancelled = metrics.lines().find(|line| line.starts_with("request_cancelled_total")).unwrap();
    assert!(cancelled.ends_with(" 1"), "{cancelled}");
}

#[tokio::test]
async fn metrics_count_the_tokens_that_were_generated() {
    let server = Server::start("lm-head-tiny");
    server.ask(CHAT, &chat(json!({"n": 2}))).await;
    let metrics = server.app.metrics.render().unwrap();
    let value = |name: &str| {
        let line = metrics.lines().find(|line| line.starts_with(name)).unwrap();
        line.rsplit(' ').next().unwrap().parse::<f64>().unwrap()
    };
    assert_eq!(value("generation_tokens_total"), 32.0);
    assert_eq!(value("time_to_first_token_seconds_count"), 2.0);
    assert_eq!(value("time_per_output_token_seconds_count"), 30.0);
}

#[tokio::test]
async fn a_prompt_that_is_at_fault_is_named_by_its_field() {
    let server = Server::start("lm-head-tiny");
    let long = "more ".repeat(20_000);
    for (path, body, field) in [
        (TEXT, json!({"model": "tiny", "prompt": long}), "prompt"),
        (TEXT, json!({"model": "tiny", "prompt": ["a", long]}), "prompt[1]"),
        (TEXT, json!({"model": "tiny", "prompt": ["a", ""], "add_special_tokens": false}), "prompt[1]"),
        (CHAT, json!({"model": "tiny", "messages": [{"role": "user", "content": long}]}), "messages"),
        (CHAT, json!({"model": "tiny", "messages": [{"role": "robot", "content": ""}]}), "messages[0].role"),
    ] {
        let answer = server.ask(path, &body).await;
        assert_eq!(answer.status, StatusCode::BAD_REQUEST, "{path}: {}", answer.text);
        let error = &answer.json()["error"];
        assert_eq!(error["param"], field, "{path}: {error}");
        assert!(error["message"].as_str().unwrap().starts_with(&format!("`{field}`")), "{error}");
    }
}
