//! Completions that begin with their prompt, and how likely that is.

use axum::http::StatusCode;
use serde_json::{Value, json};

use super::language::{Built, Golden, Server};

const TEXT: &str = "/v1/completions";

async fn ask(server: &Server, body: Value) -> Value {
    let mut whole = json!({"model": "tiny", "echo": true, "logprobs": 1, "max_tokens": 1, "temperature": 0});
    for (name, value) in body.as_object().unwrap() {
        whole[name] = value.clone();
    }
    let answer = server.ask(TEXT, &whole).await;
    assert_eq!(answer.status, StatusCode::OK, "{}", answer.text);
    answer.json()["choices"][0].clone()
}

fn numbers(list: &Value) -> Vec<f64> {
    list.as_array().unwrap().iter().map(|number| number.as_f64().unwrap()).collect()
}

#[tokio::test]
async fn a_prompts_tokens_have_the_log_probabilities_of_transformers() {
    let server = Server::start("lm-head-tiny");
    for case in Golden::read("lm-head-tiny").texts {
        let ids = [case.prompt.clone(), case.tokens].concat();
        let choice = ask(&server, json!({"prompt": ids, "max_tokens": 0})).await;
        let logprobs = &choice["logprobs"];
        assert_eq!(logprobs["tokens"].as_array().unwrap().len(), ids.len());
        assert_eq!(
            (&logprobs["token_logprobs"][0], &logprobs["top_logprobs"][0]),
            (&json!(null), &json!(null))
        );
        let found = numbers(&json!(logprobs["token_logprobs"].as_array().unwrap()[case.prompt.len()..]));
        for (found, expected) in found.iter().zip(&case.logprobs) {
            assert!((found - f64::from(*expected)).abs() < 1e-3, "{found} for {expected}");
        }
        assert_eq!(found.len(), case.logprobs.len());
    }
}

#[tokio::test]
async fn a_prompt_has_the_log_probabilities_of_its_generation_bit_for_bit() {
    let server = Server::start("lm-head-tiny");
    let prompt = Golden::read("lm-head-tiny").texts[0].prompt.clone();
    let generated = ask(&server, json!({"prompt": prompt, "max_tokens": 20, "ignore_eos": true})).await;
    let tokens = &generated["logprobs"]["tokens"];
    assert_eq!(tokens.as_array().unwrap().len(), prompt.len() + 20);
    // The ids that were generated, by asking for the whole text again.
    let again =
        ask(&server, json!({"prompt": prompt, "max_tokens": 20, "ignore_eos": true, "logprobs": 0})).await;
    assert_eq!(again["logprobs"]["token_logprobs"], generated["logprobs"]["token_logprobs"]);
    // Few sequences in an iteration, so that the prompt is looked up in pieces.
    let small = Built::with("lm-head-tiny", |options| {
        options.dtype = Some(assay::manifest::Dtype::F32);
        options.common.max_batch_size = Some(2);
    });
    let small = Server::of(small, |_| {});
    let long: Vec<u32> = (0..300).map(|index| 3 + index * 7 % 500).collect();
    let body = json!({"prompt": long, "max_tokens": 0});
    assert_eq!(ask(&small, body.clone()).await, ask(&server, body).await);
}

#[tokio::test]
async fn a_stream_begins_with_the_prompt_and_its_log_probabilities() {
    let server = Server::start("lm-head-tiny");
    let ids = server.ask("/tokenize", &json!({"prompt": "The capital"})).await.json()["tokens"].clone();
    let ids = ids.as_array().unwrap();
    let asked = json!({"prompt": "The capital", "max_tokens": 6, "ignore_eos": true});
    let whole = ask(&server, asked.clone()).await;
    let mut body = json!({"model": "tiny", "echo": true, "logprobs": 1, "temperature": 0, "stream": true});
    for (name, value) in asked.as_object().unwrap() {
        body[name] = value.clone();
    }
    let chunks = server.ask(TEXT, &body).await.chunks();
    let choices = || chunks.iter().flat_map(|chunk| chunk["choices"].as_array().unwrap());
    let text: String = choices().map(|choice| choice["text"].as_str().unwrap()).collect();
    assert_eq!(text, whole["text"].as_str().unwrap());
    assert!(text.starts_with("The capital"));
    for list in ["tokens", "token_logprobs", "top_logprobs", "text_offset"] {
        let streamed: Vec<_> =
            choices().flat_map(|choice| choice["logprobs"][list].as_array().unwrap().clone()).collect();
        assert_eq!(json!(streamed), whole["logprobs"][list], "{list}");
        assert_eq!(streamed.len(), ids.len() + 6);
    }
    // The offset of each token in the text.
    let offsets = numbers(&whole["logprobs"]["text_offset"]);
    assert_eq!(offsets[ids.len()] as usize, "The capital".len());
}

#[tokio::test]
async fn without_log_probabilities_only_the_text_comes_back() {
    let server = Server::start("lm-head-tiny");
    let choice = ask(&server, json!({"prompt": "The capital", "logprobs": null, "max_tokens": 0})).await;
    assert_eq!(choice["text"], "The capital");
    assert_eq!((&choice["logprobs"], &choice["finish_reason"]), (&json!(null), &json!("length")));
    let body = json!({"model": "tiny", "prompt": "The capital", "max_tokens": 0});
    assert_eq!(server.ask(TEXT, &body).await.json()["error"]["param"], "max_tokens");
}
