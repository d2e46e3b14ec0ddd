//! What a good request is answered with.

use axum::http::StatusCode;
use serde_json::{Value, json};

use super::engines::instant;
use super::server::{ATTRIBUTES, MODEL, Server, TestResponse, chat, paris};
use crate::support::http::json_request;

/// Every attribute's score as a client that splits the text reads it.
fn scores(content: &str) -> Vec<(String, f64)> {
    let pair = |pair: &str| {
        let (name, value) = pair.split_once(':').unwrap();
        (name.to_owned(), value.parse().unwrap())
    };
    content.split(',').map(pair).collect()
}

fn content(answer: &TestResponse) -> String {
    answer.json()["choices"][0]["message"]["content"].as_str().unwrap().to_owned()
}

async fn content_with(server: &Server, change: impl FnOnce(&mut Value)) -> String {
    let mut request = paris();
    change(&mut request);
    let answer = server.chat(request).await;
    assert_eq!(answer.status, StatusCode::OK, "{}", answer.text);
    content(&answer)
}

#[tokio::test]
async fn a_conversation_is_answered_in_the_form_of_nim() {
    let answer = Server::start().chat(paris()).await;
    assert_eq!(answer.status, StatusCode::OK);
    insta::with_settings!({prepend_module_to_snapshot => false}, {
        insta::assert_snapshot!(answer.snapshot());
    });
}

#[tokio::test]
async fn scores_are_the_same_in_the_text_and_in_the_logprobs() {
    let answer = Server::start().chat(paris()).await;
    let json = answer.json();
    let logprobs = json["choices"][0]["logprobs"]["content"].as_array().unwrap();
    let scores = scores(&content(&answer));
    assert_eq!(scores.iter().map(|(name, _)| name.as_str()).collect::<Vec<_>>(), ATTRIBUTES);
    for ((name, score), entry) in scores.iter().zip(logprobs) {
        assert_eq!(entry["token"].as_str(), Some(name.as_str()));
        assert_eq!(entry["logprob"].as_f64(), Some(*score));
    }
}

#[tokio::test]
async fn nothing_that_controls_sampling_changes_a_score() {
    let server = Server::start();
    let plain = content_with(&server, |_| {}).await;
    let sampling = content_with(&server, |request| {
        for (name, value) in [
            ("temperature", json!(0)),
            ("max_tokens", json!(1)),
            ("max_completion_tokens", json!(8)),
            ("top_p", json!(0.5)),
            ("seed", json!(7)),
            ("user", json!("someone")),
            ("logprobs", json!(true)),
            ("top_logprobs", json!(3)),
            ("stop", json!(["\n"])),
            ("n", json!(1)),
            ("tools", json!([])),
            ("response_format", json!({"type": "text"})),
            ("stream", json!(null)),
        ] {
            request[name] = value;
        }
    })
    .await;
    assert_eq!(plain, sampling);
}

#[tokio::test]
async fn text_parts_count_as_the_lines_of_one_text() {
    let server = Server::start();
    let lines = "The Louvre,\nand the Seine by night.";
    let plain = content_with(&server, |request| request["messages"][1]["content"] = json!(lines)).await;
    let parts =
        json!([{"type": "text", "text": "The Louvre,"}, {"type": "text", "text": "and the Seine by night."}]);
    let joined = content_with(&server, |request| request["messages"][1]["content"] = parts).await;
    assert_eq!(plain, joined);
}

#[tokio::test]
async fn a_conversation_that_ends_with_the_user_is_scored_as_it_is() {
    let server = Server::start();
    let probe = json!({"model": MODEL, "messages": [{"role": "user", "content": "ping"}], "max_tokens": 1});
    assert_eq!(server.chat(probe).await.status, StatusCode::OK);
}

#[tokio::test]
async fn system_turns_several_turns_and_an_empty_response_are_scored() {
    let server = Server::start();
    let messages = json!([
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "Hello!"},
        {"role": "assistant", "content": "Hello!", "name": "helper", "tool_calls": null, "refusal": null},
        {"role": "user", "content": "And?"},
        {"role": "assistant", "content": ""},
    ]);
    content_with(&server, |request| request["messages"] = messages).await;
}

#[tokio::test]
async fn a_stream_carries_the_scores_the_end_and_the_usage() {
    let mut request = paris();
    request["stream"] = json!(true);
    request["stream_options"] = json!({"include_usage": true});
    let server = Server::start();
    let answer = server.chat(request).await;
    assert_eq!(answer.headers["content-type"], "text/event-stream; charset=utf-8");

    let events: Vec<&str> = answer.text.split_terminator("\n\n").collect();
    let data = |event: &str| event.strip_prefix("data: ").unwrap().to_owned();
    let chunk = |index: usize| -> Value { serde_json::from_str(&data(events[index])).unwrap() };
    assert_eq!(events.len(), 4);
    let (first, last, usage) = (chunk(0), chunk(1), chunk(2));
    assert_eq!(first["object"], "chat.completion.chunk");
    assert_eq!(first["choices"][0]["delta"]["content"], content_with(&server, |_| {}).await);
    assert_eq!(first["choices"][0]["logprobs"]["content"].as_array().unwrap().len(), ATTRIBUTES.len());
    assert_eq!(first["choices"][0]["finish_reason"], Value::Null);
    assert_eq!(first["usage"], Value::Null);
    assert!(first.get("usage").is_some() && last.get("usage").is_some());
    assert_eq!(last["choices"][0]["finish_reason"], "stop");
    assert_eq!(usage["choices"], json!([]));
    assert_eq!(usage["usage"]["completion_tokens"], 1);
    assert_eq!(data(events[3]), "[DONE]");
}

#[tokio::test]
async fn a_stream_says_nothing_of_usage_unless_asked() {
    let mut request = paris();
    request["stream"] = json!(true);
    let answer = Server::start().chat(request).await;
    assert!(!answer.text.contains("usage"));
}

#[tokio::test]
async fn a_repeated_conversation_says_what_was_cached() {
    let server = Server::start();
    server.chat(paris()).await;
    let usage = server.chat(paris()).await.json()["usage"].clone();
    let cached = usage["prompt_tokens_details"]["cached_tokens"].as_u64().unwrap();
    assert!(cached > 0 && cached < usage["prompt_tokens"].as_u64().unwrap(), "{usage}");
}

#[tokio::test]
async fn responses_carry_the_request_id_and_the_times() {
    let server = Server::start();
    let mut request = chat(paris().to_string());
    request.headers_mut().insert("x-request-id", "mine-1".parse().unwrap());
    let answer = server.send(request).await;
    assert_eq!(answer.headers["x-request-id"], "mine-1");
    for name in ["x-queue-time", "x-inference-time"] {
        assert!(answer.headers[name].to_str().unwrap().parse::<f64>().unwrap() >= 0.0);
    }
    assert!(!server.chat(paris()).await.headers["x-request-id"].is_empty());
}

#[tokio::test]
async fn the_id_of_an_answer_ends_with_that_of_its_request() {
    let server = Server::start();
    let texts = json!({"text_1": "Hello", "text_2": ["a"]});
    for (path, body, prefix) in [
        ("/v1/chat/completions", paris(), "chatcmpl"),
        ("/score", texts.clone(), "score"),
        ("/classify", json!({"input": "Hello"}), "classify"),
        ("/rerank", json!({"query": "Hello", "documents": ["a"]}), "rerank"),
        ("/v1/rewards", json!({"conversations": [paris()["messages"]]}), "rewards"),
    ] {
        let ask = async |body: &Value, header: Option<&str>| {
            let mut request = json_request(path, body.to_string());
            if let Some(header) = header {
                request.headers_mut().insert("x-request-id", header.parse().unwrap());
            }
            let answer = server.send(request).await;
            let of_request = answer.headers["x-request-id"].to_str().unwrap().to_owned();
            (answer.json()["id"].as_str().unwrap().to_owned(), of_request)
        };
        let (id, of_request) = ask(&body, None).await;
        assert_eq!(id, format!("{prefix}-{of_request}"));
        assert_eq!(ask(&body, Some("mine-1")).await.0, format!("{prefix}-mine-1"));
        let mut named = body.clone();
        named["request_id"] = json!("mine-2");
        assert_eq!(ask(&named, None).await.0, format!("{prefix}-mine-2"));
        // As in vLLM, the header takes precedence over the field.
        assert_eq!(ask(&named, Some("mine-1")).await.0, format!("{prefix}-mine-1"));
        for unusable in [json!(7), json!(""), json!("x".repeat(129))] {
            named["request_id"] = unusable;
            let (id, of_request) = ask(&named, None).await;
            assert_eq!(id, format!("{prefix}-{of_request}"));
        }
    }
}

#[tokio::test]
async fn the_model_answers_to_every_name_it_is_given() {
    let names = ["first".to_owned(), "second".to_owned()];
    let server = Server::with(|settings| settings.server.served_model_name = names.to_vec(), instant());
    for name in names {
        let mut request = paris();
        request["model"] = json!(name);
        assert_eq!(server.chat(request).await.json()["model"], "first");
    }
    assert_eq!(server.chat(paris()).await.status, StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn scores_that_were_changed_say_how() {
    let change = |settings: &mut assay::config::Settings| {
        settings.scoring.score_clamp = Some("-1,1".parse().unwrap());
        settings.scoring.score_weights = vec!["helpfulness=0.5".parse().unwrap()];
        settings.scoring.score_weighted_name = Some("total".into());
    };
    let server = Server::with(change, instant());
    let answer = server.chat(paris()).await;
    let scores = scores(&content(&answer));
    assert_eq!(scores.len(), ATTRIBUTES.len() + 1);
    assert!(scores.iter().all(|(_, score)| (-1.0..=1.0).contains(score)), "{scores:?}");
    assert_eq!(scores.last().unwrap(), &("total".to_owned(), 0.5 * scores[0].1));
    let how = json!({"clamp": [-1.0, 1.0], "weights": {"helpfulness": 0.5}, "weighted_name": "total"});
    assert_eq!(answer.json()["score_options"], how);
    assert_eq!(server.get("/v1/models").await.json()["data"][0]["score_options"], how);

    let plain = Server::start();
    assert!(plain.chat(paris()).await.json().get("score_options").is_none());
    assert!(plain.get("/v1/models").await.json()["data"][0].get("score_options").is_none());
}
