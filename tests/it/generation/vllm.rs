//! What vLLM's own fields ask of chats and completions.

use assay::manifest::Dtype;
use axum::http::StatusCode;
use serde_json::{Value, json};

use super::language::{Built, Server};

const CHAT: &str = "/v1/chat/completions";
const TEXT: &str = "/v1/completions";
const BATCH: &str = "/v1/chat/completions/batch";

fn chat(change: Value) -> Value {
    with(
        json!({"messages": [turn("user", "What is a KV cache?")], "max_tokens": 12, "temperature": 0}),
        change,
    )
}

fn text(change: Value) -> Value {
    with(json!({"prompt": "The capital", "max_tokens": 12, "temperature": 0}), change)
}

fn with(mut body: Value, change: Value) -> Value {
    for (name, value) in change.as_object().unwrap() {
        body[name] = value.clone();
    }
    body
}

fn turn(role: &str, content: &str) -> Value {
    json!({"role": role, "content": content})
}

async fn ok(server: &Server, path: &str, body: Value) -> Value {
    let answer = server.ask(path, &body).await;
    assert_eq!(answer.status, StatusCode::OK, "{body}: {}", answer.text);
    answer.json()
}

async fn refused(server: &Server, path: &str, body: Value) -> (String, String) {
    let answer = server.ask(path, &body).await;
    assert_eq!(answer.status, StatusCode::BAD_REQUEST, "{body}: {}", answer.text);
    let error = &answer.json()["error"];
    (error["param"].as_str().unwrap().to_owned(), error["message"].as_str().unwrap().to_owned())
}

/// Whether the engine's own sampler takes the fields of these tests.
fn samples_here(server: &Server) -> bool {
    let capabilities = server.handle.capabilities();
    capabilities.label_tokens && capabilities.allowed_tokens
}

#[tokio::test]
async fn tokens_are_named_by_their_ids_on_request() {
    let server = Server::start("lm-head-tiny");
    let wanted = json!({"logprobs": true, "top_logprobs": 2, "return_token_ids": true});
    let by_text = ok(&server, CHAT, chat(wanted.clone())).await;
    let by_id = ok(&server, CHAT, chat(with(wanted, json!({"return_tokens_as_token_ids": true})))).await;
    let (by_text, by_id) = (&by_text["choices"][0], &by_id["choices"][0]);
    let ids = by_id["token_ids"].as_array().unwrap();
    let entries = by_id["logprobs"]["content"].as_array().unwrap();
    let plain = by_text["logprobs"]["content"].as_array().unwrap();
    for ((entry, plain), id) in entries.iter().zip(plain).zip(ids) {
        assert_eq!(entry["token"], format!("token_id:{id}"));
        assert_eq!(entry["top_logprobs"][0]["token"], entry["token"]);
        assert!(!plain["token"].as_str().unwrap().starts_with("token_id:"));
        assert_eq!((&entry["logprob"], &entry["bytes"]), (&plain["logprob"], &plain["bytes"]));
    }
    let wanted = json!({"logprobs": 1, "return_token_ids": true, "return_tokens_as_token_ids": true});
    let choice = ok(&server, TEXT, text(wanted)).await["choices"][0].clone();
    let ids = choice["token_ids"].as_array().unwrap();
    for (index, id) in ids.iter().enumerate() {
        let name = format!("token_id:{id}");
        assert_eq!(choice["logprobs"]["tokens"][index], name.as_str());
        assert!(choice["logprobs"]["top_logprobs"][index].get(&name).is_some());
    }
    // Offsets are still those of the text.
    let plain = ok(&server, TEXT, text(json!({"logprobs": 1}))).await;
    assert_eq!(choice["logprobs"]["text_offset"], plain["choices"][0]["logprobs"]["text_offset"]);
}

#[tokio::test]
async fn named_tokens_have_their_log_probabilities_in_place_of_the_likeliest() {
    let server = Server::start("lm-head-tiny");
    let wanted = json!({
        "logprobs": true, "top_logprobs": 1, "logprob_token_ids": [100, 200, 300], "max_tokens": 1,
        "return_tokens_as_token_ids": true, "return_token_ids": true,
    });
    if !samples_here(&server) {
        assert_eq!(refused(&server, CHAT, chat(wanted)).await.0, "logprob_token_ids");
        return;
    }
    let choice = ok(&server, CHAT, chat(wanted)).await["choices"][0].clone();
    let chosen = format!("token_id:{}", choice["token_ids"][0]);
    let listed = choice["logprobs"]["content"][0]["top_logprobs"].as_array().unwrap();
    let names: Vec<_> = listed.iter().map(|entry| entry["token"].as_str().unwrap()).collect();
    assert_eq!(names, [chosen.as_str(), "token_id:100", "token_id:200", "token_id:300"]);
    let likeliest = ok(&server, CHAT, chat(json!({"logprobs": true, "max_tokens": 1}))).await;
    assert_eq!(likeliest["choices"][0]["logprobs"]["content"][0]["logprob"], listed[0]["logprob"]);

    let wanted = json!({"logprobs": 0, "logprob_token_ids": [100], "return_tokens_as_token_ids": true});
    let choice = ok(&server, TEXT, text(wanted.clone())).await["choices"][0].clone();
    assert!(choice["logprobs"]["top_logprobs"][0]["token_id:100"].is_number(), "{choice}");
    for (path, body, words) in [
        (CHAT, chat(json!({"logprob_token_ids": [100]})), "is for log-probabilities"),
        (CHAT, chat(json!({"logprobs": true, "logprob_token_ids": []})), "is empty"),
        (CHAT, chat(json!({"logprobs": true, "logprob_token_ids": vec![1; 129]})), "send up to 128"),
        (TEXT, text(with(wanted, json!({"echo": true}))), "is for generated tokens"),
    ] {
        let (param, message) = refused(&server, path, body).await;
        assert_eq!(param, "logprob_token_ids");
        assert!(message.contains(words), "{message}");
    }
}

#[tokio::test]
async fn an_answer_says_which_string_or_token_of_the_request_ended_it() {
    let server = Server::start("lm-head-tiny");
    let whole = ok(&server, TEXT, text(json!({"ignore_eos": true, "return_token_ids": true}))).await;
    assert_eq!(whole["choices"][0]["stop_reason"], Value::Null);
    let words: Vec<char> = whole["choices"][0]["text"].as_str().unwrap().chars().collect();
    let stop: String = words[words.len() / 2..words.len() / 2 + 3].iter().collect();
    let whole_text = whole["choices"][0]["text"].as_str().unwrap();
    let before = &whole_text[..whole_text.find(&stop).unwrap()];
    for (keep, kept) in [("include_stop_str_in_output", true), ("no_stop_trim", true), ("echo", false)] {
        let body = text(json!({"ignore_eos": true, "stop": ["§§", stop], keep: kept}));
        let choice = ok(&server, TEXT, body.clone()).await["choices"][0].clone();
        assert_eq!((&choice["finish_reason"], &choice["stop_reason"]), (&json!("stop"), &json!(stop)));
        assert_eq!(choice["text"], format!("{before}{}", if kept { stop.as_str() } else { "" }));
        let chunks = server.ask(TEXT, &with(body, json!({"stream": true}))).await.chunks();
        let streamed: String =
            chunks.iter().filter_map(|chunk| chunk["choices"][0]["text"].as_str()).collect();
        assert_eq!(choice["text"], streamed.as_str());
        assert_eq!(chunks.last().unwrap()["choices"][0]["stop_reason"], json!(stop));
    }
    let last = whole["choices"][0]["token_ids"].as_array().unwrap().last().unwrap().clone();
    let body = text(json!({"ignore_eos": true, "stop_token_ids": [last], "skip_special_tokens": false}));
    let choice = ok(&server, TEXT, body.clone()).await["choices"][0].clone();
    assert_eq!((&choice["finish_reason"], &choice["stop_reason"]), (&json!("stop"), &last));
    assert_eq!(choice["matched_stop"], last);
    let kept = ok(&server, TEXT, with(body, json!({"include_stop_str_in_output": true}))).await;
    let kept = kept["choices"][0]["text"].as_str().unwrap();
    assert!(kept.len() > choice["text"].as_str().unwrap().len() && whole_text.starts_with(kept), "{kept}");
}

#[tokio::test]
async fn an_end_token_of_the_model_is_not_one_of_the_request() {
    let built = Built::new("lm-head-tiny", Dtype::F32);
    let ends = built.manifest.prompt.end_tokens.clone();
    let server = Server::of(built, |_| {});
    let choice = ok(&server, TEXT, text(json!({"allowed_token_ids": ends}))).await["choices"][0].clone();
    assert_eq!((&choice["finish_reason"], &choice["stop_reason"]), (&json!("stop"), &Value::Null));
    assert!(ends.iter().any(|end| choice["matched_stop"] == *end), "{choice}");
}

#[tokio::test]
async fn an_answer_has_only_the_tokens_that_are_allowed() {
    let server = Server::start("lm-head-tiny");
    let wanted = json!({"allowed_token_ids": [150, 160], "ignore_eos": true, "return_token_ids": true});
    if !samples_here(&server) {
        assert_eq!(refused(&server, TEXT, text(wanted)).await.0, "allowed_token_ids");
        return;
    }
    for temperature in [0.0, 5.0] {
        let body = text(with(wanted.clone(), json!({"temperature": temperature})));
        let ids = ok(&server, TEXT, body).await["choices"][0]["token_ids"].clone();
        let ids = ids.as_array().unwrap();
        assert!(
            ids.len() == 12 && ids.iter().all(|id| [150, 160].contains(&id.as_u64().unwrap())),
            "{ids:?}"
        );
    }
    let body = text(json!({"allowed_token_ids": [7], "stop_token_ids": [7], "min_tokens": 1}));
    let (param, message) = refused(&server, TEXT, body).await;
    assert!(param == "allowed_token_ids" && message.contains("`min_tokens`"), "{message}");
    let (param, _) = refused(&server, TEXT, text(json!({"allowed_token_ids": [1, 1 << 30]}))).await;
    assert_eq!(param, "allowed_token_ids[1]");
}

#[tokio::test]
async fn conversations_of_a_batch_are_answered_as_they_are_one_by_one() {
    let server = Server::start("lm-head-tiny");
    let conversations = [
        json!([turn("user", "What is a KV cache?")]),
        json!([turn("system", "Be brief."), turn("user", "Why?"), turn("assistant", "Because")]),
    ];
    let shared = json!({
        "max_tokens": 12, "temperature": 0, "logprobs": true, "return_token_ids": true, "echo": true,
        "continue_final_message": true,
    });
    let batch = ok(&server, BATCH, with(json!({"messages": conversations}), shared.clone())).await;
    let mut usage = 0;
    for (index, messages) in conversations.iter().enumerate() {
        let one = ok(&server, CHAT, with(json!({"messages": messages}), shared.clone())).await;
        let mut choice = one["choices"][0].clone();
        choice["index"] = json!(index);
        assert_eq!(batch["choices"][index], choice);
        usage += one["usage"]["prompt_tokens"].as_u64().unwrap();
    }
    assert_eq!(batch["usage"]["prompt_tokens"], usage);
    assert!(batch["choices"][1]["message"]["content"].as_str().unwrap().starts_with("Because"));
    let messages = json!([[turn("user", "a")], [turn("user", "b")]]);
    for (change, param) in [
        (json!({"stream": true}), "stream"),
        (json!({"n": 2}), "n"),
        (json!({"messages": []}), "messages"),
        (json!({"messages": [turn("user", "a")]}), "messages[0]"),
        (
            json!({"messages": [[turn("user", "a")], [{"role": "user", "content": 5}]]}),
            "messages[1][0].content",
        ),
        (json!({"messages": vec![json!([turn("user", "a")]); 1025]}), "messages"),
        (json!({"messages": [[turn("user", "a")], [turn("user", &"more ".repeat(20_000))]]}), "messages[1]"),
    ] {
        let body = with(json!({"messages": messages}), change);
        assert_eq!(refused(&server, BATCH, body).await.0, param);
    }
}

#[tokio::test]
async fn every_name_of_logit_bias_that_is_not_a_token_is_named_at_once() {
    let server = Server::start("lm-head-tiny");
    let (param, message) =
        refused(&server, CHAT, chat(json!({"logit_bias": {"good": 5, "7": 1, "bad": 2}}))).await;
    assert!(param == "logit_bias" && message.contains("`good`, `bad`"), "{message}");
    let (param, message) = refused(&server, CHAT, chat(json!({"logit_bias": {"good": 5}}))).await;
    assert!(param == "logit_bias.good" && message.contains("must be a token id"), "{message}");
}

#[tokio::test]
async fn an_effort_is_taken_and_reaches_no_template_that_does_not_read_it() {
    let server = Server::start("lm-head-tiny");
    let plain = ok(&server, CHAT, chat(json!({}))).await;
    let low = ok(&server, CHAT, chat(json!({"reasoning_effort": "low"}))).await;
    assert_eq!(low["choices"], plain["choices"]);
    assert_eq!(refused(&server, CHAT, chat(json!({"reasoning_effort": 5}))).await.0, "reasoning_effort");
    // No limit on thought is what there is anyway.
    ok(&server, CHAT, chat(json!({"thinking_token_budget": -1}))).await;
    let limit = refused(&server, CHAT, chat(json!({"thinking_token_budget": 10}))).await;
    assert_eq!(limit.0, "thinking_token_budget");
}

#[tokio::test]
async fn cached_tokens_of_several_prompts_add_up_streamed_or_not() {
    let server = Server::start("lm-head-tiny");
    let prompts = ["a question and its answer ", "one more "].map(|text| text.repeat(30));
    let cached = |usage: &Value| usage["prompt_tokens_details"]["cached_tokens"].as_u64().unwrap();
    let mut alone = Vec::new();
    for prompt in &prompts {
        // The first answer fills the cache.
        ok(&server, TEXT, text(json!({"prompt": prompt}))).await;
        alone.push(cached(&ok(&server, TEXT, text(json!({"prompt": prompt}))).await["usage"]));
    }
    for n in [1, 2] {
        let body = text(json!({"prompt": prompts, "n": n, "temperature": 1}));
        let whole = ok(&server, TEXT, body.clone()).await;
        assert_eq!(cached(&whole["usage"]), alone.iter().sum::<u64>(), "{n} for each prompt");
        let options = json!({"stream": true, "stream_options": {"include_usage": true}});
        let chunks = server.ask(TEXT, &with(body, options)).await.chunks();
        assert_eq!(cached(&chunks.last().unwrap()["usage"]), alone.iter().sum::<u64>(), "{n} streamed");
    }
}
