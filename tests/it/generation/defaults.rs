//! What a request leaves open is as the checkpoint's `generation_config.json` has it.

use assay::builder::BuildError;
use assay::manifest::Dtype;
use serde_json::{Value, json};

use super::language::{Built, Server};

const CHAT: &str = "/v1/chat/completions";

/// A language model with a `generation_config.json`, in the format of [`Server::start`].
fn built(generation_config: &Value) -> Result<Built, BuildError> {
    Built::try_with("lm-head-tiny", |options| {
        options.dtype = Some(Dtype::F32);
        std::fs::write(options.common.model.join("generation_config.json"), generation_config.to_string())
            .unwrap();
    })
}

fn server(generation_config: &Value) -> Server {
    Server::of(built(generation_config).unwrap(), |_| {})
}

async fn choice(server: &Server, change: &Value) -> Value {
    let mut body = json!({
        "model": "tiny", "messages": [{"role": "user", "content": "What is a KV cache?"}], "seed": 5, "ignore_eos": true,
    });
    for (name, value) in change.as_object().unwrap() {
        body[name] = value.clone();
    }
    let answer = server.ask(CHAT, &body).await;
    answer.json()["choices"][0].clone()
}

#[tokio::test]
async fn what_a_request_leaves_open_is_as_the_checkpoint_recommends() {
    let plain = Server::start("lm-head-tiny");
    let recommended = json!({"temperature": 0.5, "top_k": 7, "top_p": 0.9, "repetition_penalty": 1.3});
    let mut written = recommended.clone();
    written["max_new_tokens"] = json!(12);
    let server = server(&written);
    let mut asked = recommended.clone();
    asked["max_tokens"] = json!(12);
    let expected = choice(&plain, &asked).await;
    assert_eq!(choice(&server, &json!({})).await, expected);
    assert_eq!(expected["finish_reason"], "length");

    let model = &server.get("/v1/models").await["data"][0];
    let mut expected = recommended;
    expected["max_tokens"] = json!(12);
    assert_eq!(model["sampling_defaults"], expected);
    assert_eq!(plain.get("/v1/models").await["data"][0].get("sampling_defaults"), None);
}

#[tokio::test]
async fn what_a_request_says_goes_before_what_the_checkpoint_recommends() {
    let plain = Server::start("lm-head-tiny");
    let server = server(&json!({"temperature": 0.1, "top_k": 2, "top_p": 0.3, "max_new_tokens": 3}));
    let said = json!({"temperature": 1.0, "top_k": -1, "top_p": 1.0, "max_tokens": 16});
    assert_eq!(choice(&server, &said).await, choice(&plain, &said).await);
}

#[tokio::test]
async fn a_checkpoint_that_does_not_sample_gives_the_likeliest_tokens() {
    let server = server(&json!({"do_sample": false, "temperature": 0.7}));
    let likeliest = choice(&server, &json!({"max_tokens": 16, "temperature": 0})).await;
    for seed in [1, 2, 3] {
        assert_eq!(choice(&server, &json!({"max_tokens": 16, "seed": seed})).await, likeliest);
    }
}

#[tokio::test]
async fn an_option_ignores_the_recommended_sampling() {
    let recommends = built(&json!({"temperature": 0.1, "top_k": 1, "max_new_tokens": 3})).unwrap();
    let server = Server::of(recommends, |settings| settings.engine.generation_config = false);
    let plain = Server::start("lm-head-tiny");
    let ask = json!({"max_tokens": 16});
    assert_eq!(choice(&server, &ask).await, choice(&plain, &ask).await);
    assert_eq!(server.get("/v1/models").await["data"][0].get("sampling_defaults"), None);
}

#[tokio::test]
async fn a_recommended_length_is_no_more_than_there_is_room_for() {
    let server = server(&json!({"max_new_tokens": 1_000_000}));
    let answer = choice(&server, &json!({})).await;
    assert_eq!(answer["finish_reason"], "length");
}

#[test]
fn impossible_sampling_defaults_are_refused_with_file_and_field() {
    for (field, value) in [
        ("temperature", json!(-1)),
        ("top_p", json!(1.5)),
        ("top_k", json!("all")),
        ("max_new_tokens", json!(0)),
    ] {
        let refused = built(&json!({field: value})).err().unwrap().to_string();
        assert!(refused.contains("generation_config.json") && refused.contains(field), "{refused}");
    }
}

#[tokio::test]
async fn tools_of_a_request_are_in_the_prompt_and_calls_stay_text() {
    let template =
        "{% if tools %}{{ tools | tojson }}{% endif %}{% for m in messages %}{{ m.content }}{% endfor %}";
    let built = Built::try_with("lm-head-tiny", |options| {
        std::fs::write(options.common.model.join("chat_template.jinja"), template).unwrap();
    });
    let server = Server::of(built.unwrap(), |_| {});
    let messages = json!([{"role": "user", "content": "What is a KV cache?"}]);
    let tools = json!([{"type": "function", "function": {"name": "look_up", "parameters": {}}}]);
    let asked = json!({"model": "tiny", "messages": messages, "tools": tools});
    let counted = server.ask("/tokenize", &asked).await.json()["count"].clone();
    let plain = server.ask("/tokenize", &json!({"model": "tiny", "messages": messages})).await.json();
    assert!(counted.as_u64() > plain["count"].as_u64(), "{counted} tokens with tools, {plain} without");
    for choice in [json!("auto"), json!("none"), Value::Null] {
        let mut request = asked.clone();
        (request["tool_choice"], request["max_tokens"]) = (choice, json!(4));
        let answer = server.ask(CHAT, &request).await.json();
        assert_eq!(answer["usage"]["prompt_tokens"], counted, "{answer}");
        assert!(answer["choices"][0]["message"]["content"].is_string(), "{answer}");
    }
}
