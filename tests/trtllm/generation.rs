//! Models that generate, on engines for GPUs: built as for TensorRT-LLM and served over the stand-in, which
//! answers with the CPU engine's logits. The tests of the routes run over it too (`tests/it/generation/http.rs`).

use assay::engine::trtllm::TrtllmFactory;
use assay::engine::{EngineOptions, GpuOptions};
use assay::manifest::{Dtype, Task};
use axum::http::StatusCode;
use serde_json::{Value, json};

use crate::engines::build_generating;
use crate::language::{Built, Golden, Server};

const CHAT: &str = "/v1/chat/completions";
const TEXT: &str = "/v1/completions";
const REWARDS: &str = "/v1/rewards";

fn built(name: &str) -> Built {
    Built::new(name, Dtype::F32)
}

/// Servers on the same weights: over the stand-in, and over the CPU engine itself.
fn both(name: &str) -> (Server, Server) {
    (Server::start(name), Server::of(built(name), |_| {}))
}

async fn ask(server: &Server, path: &str, body: &Value) -> Value {
    let answer = server.ask(path, body).await;
    assert_eq!(answer.status, StatusCode::OK, "{body}: {}", answer.text);
    answer.json()
}

fn chat(change: Value) -> Value {
    let mut body = json!({
        "model": "tiny", "messages": [{"role": "user", "content": "What is a KV cache?"}],
        "max_tokens": 24, "temperature": 0,
    });
    for (name, value) in change.as_object().unwrap() {
        body[name] = value.clone();
    }
    body
}

#[tokio::test(flavor = "multi_thread")]
async fn greedy_answers_are_those_of_the_cpu_engine() {
    // Tied and not, with a softcap and without; Gemma's answers go beyond its window.
    for (name, max_tokens) in [("lm-head-tiny", 24), ("qwen3-tiny", 24), ("gemma2-tiny", 24)] {
        let (gpu, cpu) = both(name);
        for change in [
            json!({}),
            json!({"ignore_eos": true, "logprobs": true, "top_logprobs": 5}),
            json!({"presence_penalty": 1.5, "frequency_penalty": 0.5, "ignore_eos": true}),
            json!({"repetition_penalty": 1.3, "ignore_eos": true}),
            json!({"logit_bias": {"20": 100}}),
            json!({"stop": ["e", "an"], "ignore_eos": true}),
        ] {
            let mut body = chat(change);
            body["max_tokens"] = json!(max_tokens);
            let (ours, theirs) = (ask(&gpu, CHAT, &body).await, ask(&cpu, CHAT, &body).await);
            assert_eq!(ours["choices"], theirs["choices"], "{name}: {body}");
            assert_eq!(ours["usage"]["completion_tokens"], theirs["usage"]["completion_tokens"], "{body}");
        }
    }
}

/// The answers' logits are among those after each prompt, and the library reuses the blocks of a prefix that
/// prompts share.
#[tokio::test(flavor = "multi_thread")]
async fn rubrics_score_as_on_the_cpu_engine_and_share_their_conversation() {
    let (gpu, cpu) = both("lm-head-tiny");
    let items: Vec<Value> = (0..4)
        .map(|number| {
            json!({"name": format!("i{number}"), "ask": format!("Is it so, {number}?"),
            "answers": {"a": 1, "b": 0, "0": -1}, "weight": number})
        })
        .collect();
    let messages = json!([
        {"role": "user", "content": "What is a KV cache? ".repeat(8)},
        {"role": "assistant", "content": "It keeps keys and values. ".repeat(4)},
    ]);
    for layout in ["append", "quote"] {
        let body = json!({"conversations": [messages], "rubric": items, "layout": layout});
        let (ours, theirs) = (ask(&gpu, REWARDS, &body).await, ask(&cpu, REWARDS, &body).await);
        for part in ["scores", "answer_mass"] {
            assert!(ours["data"][0][part].is_object(), "{ours}");
            assert_eq!(ours["data"][0][part], theirs["data"][0][part], "{layout}");
        }
        let count = |answer: &Value, field: &str| answer["usage"][field].as_u64().unwrap();
        assert_eq!(count(&ours, "prompt_tokens"), count(&theirs, "prompt_tokens"));
        // Three of the four prompts find the conversation in the cache, but for less than a block of it.
        let shared = count(&ours, "cached_tokens");
        assert!(2 * shared > count(&ours, "prompt_tokens"), "{ours} {theirs}");
    }
}

/// The library reserves memory for the logits of all that a request may generate, so no more are generated with them.
#[tokio::test(flavor = "multi_thread")]
async fn log_probabilities_of_more_tokens_than_there_is_memory_for_are_refused() {
    let mut engine = build_generating(built("lm-head-tiny"), &[]);
    let row = engine.manifest.model.vocab_size * size_of::<f32>();
    let gpu = GpuOptions { logits_host_bytes: 10 * row, ..GpuOptions::default() };
    let options = EngineOptions { gpu, ..EngineOptions::default() };
    engine.factory = TrtllmFactory::open(&engine.path, &engine.manifest, &options).unwrap().into();
    let server = Server::on(engine, |_| {});
    let body = chat(json!({"logprobs": true, "ignore_eos": true, "max_tokens": null}));
    let choice = &ask(&server, CHAT, &body).await["choices"][0];
    assert_eq!(
        (&choice["finish_reason"], choice["logprobs"]["content"].as_array().unwrap().len()),
        (&json!("length"), 10)
    );
    let refused = server.ask(CHAT, &chat(json!({"logprobs": true, "max_tokens": 11}))).await;
    assert_eq!(
        (refused.status, &refused.json()["error"]["param"]),
        (StatusCode::BAD_REQUEST, &json!("max_tokens"))
    );
    assert!(refused.text.contains("must be up to 10 with log-probabilities"), "{}", refused.text);
    // Without them there is no such limit.
    let long = ask(&server, CHAT, &chat(json!({"ignore_eos": true, "max_tokens": 20}))).await;
    assert_eq!(long["usage"]["completion_tokens"], 20);
}

/// An end token as the library's end id, and as one of its stop words.
#[tokio::test(flavor = "multi_thread")]
async fn whichever_end_token_comes_ends_the_answer_and_is_not_part_of_it() {
    let server = Server::start("lm-head-tiny");
    // Its first chat is ours.
    let ids = &Golden::read("lm-head-tiny").chats[0].tokens;
    let end = ids[4];
    let first = ids.iter().position(|&id| id == end).unwrap();
    let unused = (100..).find(|id| !ids.contains(id)).unwrap();
    for stop in [json!([end]), json!([unused, end])] {
        let body = chat(json!({"ignore_eos": true, "stop_token_ids": stop, "logprobs": true}));
        let answer = ask(&server, CHAT, &body).await;
        let choice = &answer["choices"][0];
        assert_eq!(choice["finish_reason"], "stop", "{answer}");
        assert_eq!(choice["logprobs"]["content"].as_array().unwrap().len(), first);
        assert_eq!(answer["usage"]["completion_tokens"], first + 1);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_library_cannot_do_is_refused_by_name_before_it_is_asked() {
    let server = Server::start("lm-head-tiny");
    let two_ends = json!({"min_tokens": 2, "stop_token_ids": [5, 6], "ignore_eos": true});
    for (field, change) in [("top_k", json!({"top_k": 1025})), ("min_tokens", two_ends)] {
        for path in [CHAT, TEXT] {
            let mut body = chat(change.clone());
            if path == TEXT {
                body.as_object_mut().unwrap().remove("messages");
                body["prompt"] = json!("The capital");
            }
            let answer = server.ask(path, &body).await;
            assert_eq!(answer.status, StatusCode::BAD_REQUEST, "{}", answer.text);
            assert_eq!(answer.json()["error"]["param"], field, "{}", answer.text);
        }
    }
    let echo = json!({"model": "tiny", "prompt": "The capital", "echo": true, "logprobs": 1});
    assert_eq!(server.ask(TEXT, &echo).await.json()["error"]["param"], "echo");
    // What it can do of them.
    for change in
        [json!({"top_k": 1024}), json!({"min_tokens": 2, "stop_token_ids": [5], "ignore_eos": true})]
    {
        ask(&server, CHAT, &chat(change)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_limits_of_sampling_reach_the_library() {
    let server = Server::start("lm-head-tiny");
    let greedy = ask(&server, CHAT, &chat(json!({"ignore_eos": true}))).await;
    for change in
        [json!({"top_k": 1}), json!({"top_p": 1e-6}), json!({"min_p": 1.0}), json!({"temperature": 1e-3})]
    {
        let mut body = chat(json!({"temperature": 5, "ignore_eos": true, "seed": 9}));
        for (name, value) in change.as_object().unwrap() {
            body[name] = value.clone();
        }
        let answer = ask(&server, CHAT, &body).await;
        assert_eq!(answer["choices"], greedy["choices"], "{body}");
    }
}

#[test]
fn the_task_of_an_engine_is_recognised_as_for_a_cpu() {
    let chat = build_generating(built("lm-head-tiny"), &["--tp", "2", "--pp", "2"]);
    assert_eq!((chat.manifest.task, chat.manifest.ranks()), (Task::Chat, 4));
    assert_eq!(chat.manifest.prompt, chat.built.manifest.prompt);
    assert_eq!(chat.manifest.logits(), chat.manifest.model.vocab_size);
    let completion = build_generating(built("lm-head-tiny"), &["--task", "completion"]);
    assert_eq!(completion.manifest.task, Task::Completion);
}
