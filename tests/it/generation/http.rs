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
async fn the_last_message_is_continued_and_echoed() {
    let server = Server::start("lm-head-tiny");
    let messages = json!([{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Sure,"}]);
    let request = json!({"messages": messages, "temperature": 0, "continue_final_message": true});
    let tokens =
        server.ask("/tokenize", &json!({"messages": messages, "continue_final_message": true})).await;
    let answer = server.ask(CHAT, &chat(request.clone())).await.json();
    assert_eq!(answer["usage"]["prompt_tokens"], tokens.json()["count"]);
    let text = content(&answer["choices"][0]).to_owned();
    // The text goes on where the prompt ends, as a completion of its tokens does.
    let ids =
        json!({"prompt": tokens.json()["tokens"], "temperature": 0, "max_tokens": 16, "ignore_eos": true});
    let completed = server.ask(TEXT, &ids).await.json();
    assert_eq!(completed["choices"][0]["text"], text);
    let mut echoed = request;
    echoed["echo"] = json!(true);
    let answer = server.ask(CHAT, &chat(echoed)).await.json();
    assert_eq!(content(&answer["choices"][0]), format!("Sure,{text}"));
    // A turn of the user is not repeated.
    let plain = server.ask(CHAT, &chat(json!({"temperature": 0}))).await.json();
    let echoed = server.ask(CHAT, &chat(json!({"temperature": 0, "echo": true}))).await.json();
    assert_eq!(content(&echoed["choices"][0]), content(&plain["choices"][0]));
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
async fn a_stream_says_what_the_whole_response_says() {
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
        ("tool_choice", json!("required")),
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
async fn a_client_that_hangs_up_cancels_its_request() {
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
        (CHAT, json!({"model": "tiny", "messages": [{"role": 5, "content": ""}]}), "messages[0].role"),
        (TEXT, json!({"prompt": "a", "stop": ["b", 4]}), "stop[1]"),
        (TEXT, json!({"prompt": "a", "min_tokens": 5, "max_tokens": 2}), "min_tokens"),
        (TEXT, json!({"prompt": "a", "min_tokens": 17}), "min_tokens"),
        ("/v1/score", json!({"query": "a", "items": [1], "label_token_ids": [2]}), "items[0]"),
        ("/generative_scoring", json!({"query": 5, "items": ["a"], "label_token_ids": [2]}), "query"),
    ] {
        let answer = server.ask(path, &body).await;
        assert_eq!(answer.status, StatusCode::BAD_REQUEST, "{path}: {}", answer.text);
        let error = &answer.json()["error"];
        assert_eq!(error["param"], field, "{path}: {error}");
        assert!(error["message"].as_str().unwrap().starts_with(&format!("`{field}`")), "{error}");
    }
}

#[tokio::test]
async fn requests_of_other_servers_clients_are_taken() {
    let server = Server::start("lm-head-tiny");
    let plain = server.ask(CHAT, &chat(json!({}))).await.json();
    for change in [
        json!({"model": null, "logprobs": false, "top_logprobs": 0, "stop_token_ids": [], "bad_words": []}),
        json!({"max_completion_tokens": 16, "tools": [], "tool_choice": "none", "user": "me", "kwargs": {}}),
        json!({"spaces_between_special_tokens": true, "return_token_ids": false, "stream": "false"}),
        json!({"use_beam_search": false, "length_penalty": 1.0, "include_stop_str_in_output": false, "allowed_token_ids": []}),
        json!({"min_new_tokens": 1, "repetition_penalty": 1, "temperature": "1.0", "best_of": 1, "echo": false}),
        json!({"truncate_prompt_tokens": -1, "truncation_side": "left", "prompt_logprobs": null}),
    ] {
        let answer = server.ask(CHAT, &chat(change.clone())).await;
        assert_eq!(answer.status, StatusCode::OK, "{change}: {}", answer.text);
        assert_eq!(answer.json()["choices"], plain["choices"], "{change}");
    }
    assert_eq!(plain["prompt_logprobs"], Value::Null);
    // Only the most likely token is left.
    let greedy = server.ask(CHAT, &chat(json!({"temperature": 0}))).await.json();
    let narrow = server.ask(CHAT, &chat(json!({"top_p": 1e-10}))).await.json();
    assert_eq!(content(&narrow["choices"][0]), content(&greedy["choices"][0]));
    for (name, value, words) in [
        ("seed", json!(1u64 << 63), "is 9223372036854775808"),
        ("top_p", json!(1.01), "is 1.01: it must be above 0"),
        ("top_p", json!("test"), "must be a number, not a string"),
        ("max_tokens", json!(-1), "is -1: it must be at least 1"),
        ("stop_token_ids", json!([-1]), "is -1, and the model's token ids"),
        ("logit_bias", json!({"x": 1}), "must be a token id"),
        ("prompt_logprobs", json!(-1), "is -1: it must be from 0 to 20"),
        ("truncate_prompt_tokens", json!(1 << 30), "send a number of tokens from 1 to"),
        ("top_logprobs", json!(21), "is 21: it must be from 0 to 20"),
        ("structured_outputs", json!({"regex": "a"}), "is not supported"),
    ] {
        let answer = server.ask(CHAT, &chat(json!({name: value}))).await;
        let error = answer.json()["error"].clone();
        assert!(error["param"].as_str().unwrap().starts_with(name), "{error}");
        assert!(error["message"].as_str().unwrap().contains(words), "{error}");
    }
}

#[tokio::test]
async fn a_lmdeploy_client_sends_both_limits_and_the_routes_own_holds() {
    let server = Server::start("lm-head-tiny");
    let body = text(json!({"max_tokens": 5, "max_completion_tokens": 16, "top_k": 40, "suffix": null}));
    assert_eq!(server.ask(TEXT, &body).await.json()["usage"]["completion_tokens"], 5);
    let body = chat(json!({"max_tokens": 16, "max_completion_tokens": 5}));
    assert_eq!(server.ask(CHAT, &body).await.json()["usage"]["completion_tokens"], 5);
}

#[tokio::test]
async fn the_last_chunk_has_the_end_of_the_text_and_the_reason() {
    let server = Server::start("lm-head-tiny");
    let options = json!({"include_usage": true, "continuous_usage_stats": true});
    for (path, body) in [(CHAT, chat(json!({}))), (TEXT, text(json!({})))] {
        let mut body = body;
        merge(&mut body, json!({"stream": true, "stream_options": options}));
        let chunks = server.ask(path, &body).await.chunks();
        let (usage, chunks) = chunks.split_last().unwrap();
        let reasons = chunks.iter().filter(|chunk| !chunk["choices"][0]["finish_reason"].is_null());
        assert_eq!(reasons.count(), 1);
        assert_eq!(chunks.last().unwrap()["choices"][0]["finish_reason"], "length");
        let so_far: Vec<u64> =
            chunks.iter().map(|chunk| chunk["usage"]["completion_tokens"].as_u64().unwrap()).collect();
        assert!(so_far.is_sorted(), "{so_far:?}");
        assert_eq!(usage["usage"]["completion_tokens"], *so_far.last().unwrap());
    }
    let body = text(json!({"stream": true, "stream_options": {"continuous_usage_stats": true}}));
    assert!(server.ask(TEXT, &body).await.chunks().iter().all(|chunk| chunk.get("usage").is_none()));
}

#[tokio::test]
async fn a_prompt_has_its_log_probabilities_and_its_ids_in_vllms_form() {
    let server = Server::start("lm-head-tiny");
    let wanted = json!({"prompt_logprobs": 2, "return_token_ids": true, "logprobs": 0});
    let answer = server.ask(TEXT, &text(wanted)).await;
    // An engine for GPUs has none of a prompt.
    if !server.handle.capabilities().prompt_logprobs {
        assert_eq!(answer.status, StatusCode::BAD_REQUEST, "{}", answer.text);
        return;
    }
    let answer = answer.json();
    let choice = &answer["choices"][0];
    let ids = choice["prompt_token_ids"].as_array().unwrap();
    let list = choice["prompt_logprobs"].as_array().unwrap();
    assert_eq!((list.len(), &list[0]), (ids.len(), &Value::Null));
    let echoed = server.ask(TEXT, &text(json!({"echo": true, "logprobs": 2, "max_tokens": 0}))).await.json();
    for (index, entries) in list.iter().enumerate().skip(1) {
        let entry = &entries[ids[index].to_string()];
        assert_eq!(entry["logprob"], echoed["choices"][0]["logprobs"]["token_logprobs"][index]);
        assert_eq!(entry["decoded_token"], echoed["choices"][0]["logprobs"]["tokens"][index]);
        let ranks = entries.as_object().unwrap().values().filter(|entry| !entry["rank"].is_null());
        assert!(ranks.count() >= 2);
    }
    assert_eq!(choice["token_ids"].as_array().unwrap().len(), 12);
    // The answer's own log-probabilities still list their own number of tokens.
    assert!(choice["logprobs"]["top_logprobs"][0].as_object().unwrap().len() == 1);
    let chat_answer = server.ask(CHAT, &chat(json!({"prompt_logprobs": 1}))).await.json();
    assert_eq!(
        chat_answer["prompt_logprobs"].as_array().unwrap().len(),
        chat_answer["usage"]["prompt_tokens"]
    );
    assert_eq!(chat_answer["choices"][0]["logprobs"], Value::Null);
    let streamed = server.ask(TEXT, &text(json!({"prompt_logprobs": 1, "stream": true}))).await;
    assert_eq!(streamed.json()["error"]["param"], "prompt_logprobs");
}

#[tokio::test]
async fn prompts_are_cut_at_the_side_that_is_asked_for() {
    let server = Server::start("lm-head-tiny");
    let prompt: Vec<u32> = (100..108).collect();
    for (side, kept) in [("right", &prompt[..4]), ("left", &prompt[4..])] {
        let wanted = json!({
            "prompt": prompt, "truncate_prompt_tokens": 4, "truncation_side": side, "return_token_ids": true
        });
        let answer = server.ask(TEXT, &text(wanted)).await.json();
        assert_eq!(answer["choices"][0]["prompt_token_ids"], json!(kept), "{side}");
        assert_eq!(answer["usage"]["prompt_tokens"], 4);
    }
}

#[tokio::test]
async fn more_answers_than_a_call_may_have_are_refused_before_anything_is_computed() {
    let server = Server::start("lm-head-tiny");
    let answer = server.ask(TEXT, &text(json!({"prompt": vec!["a"; 1024], "n": 128}))).await;
    assert_eq!(answer.status, StatusCode::BAD_REQUEST);
    assert_eq!(answer.json()["error"]["param"], "n");
    assert!(answer.text.contains("returns at most 1024 in one call"), "{}", answer.text);
    let metrics = server.app.metrics.render().unwrap();
    assert!(metrics.lines().any(|line| line.starts_with("generation_tokens_total") && line.ends_with(" 0")));
    assert_eq!(server.ask(TEXT, &text(json!({"prompt": []}))).await.json()["error"]["param"], "prompt");
}
