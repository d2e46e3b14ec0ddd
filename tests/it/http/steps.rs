//! A process reward model, from its checkpoint to its answers.

use std::sync::Arc;

use assay::api::{App, router};
use assay::config::Settings;
use assay::prompt::Encoder;
use assay::scheduler;
use assay::serving::Scorer;
use axum::Router;
use axum::http::StatusCode;
use serde_json::{Value, json};

use super::engines::{Built, of_checkpoint};
use crate::support::http::{post, send};

/// A server of a process reward model.
fn serve_model(name: &str) -> (Router, Built) {
    serve_built(of_checkpoint(name))
}

pub fn serve_built(mut built: Built) -> (Router, Built) {
    let settings = Settings::defaults(built.path.clone());
    let app = Arc::new(App::new(settings.clone(), &built.manifest).unwrap());
    let factory = built.factory.take().unwrap();
    let scheduler = scheduler::start(factory, settings.scheduler(), app.metrics.clone()).unwrap();
    let encoder = Encoder::open(&built.path, &built.manifest.prompt).unwrap();
    let head = settings.scoring.head(&built.manifest.head).unwrap();
    app.start(Scorer::new(encoder, head, scheduler, app.metrics.clone()));
    (router(app).unwrap(), built)
}

fn serve() -> (Router, Built) {
    serve_model("math-prm-tiny")
}

async fn ask(server: &Router, answer: &str) -> (StatusCode, Value) {
    let messages =
        json!([{"role": "user", "content": "2 + 3 + 4?"}, {"role": "assistant", "content": answer}]);
    post(server, "/v1/chat/completions", &json!({"model": "math-prm-tiny", "messages": messages})).await
}

fn content(answer: &Value) -> &str {
    answer["choices"][0]["message"]["content"].as_str().unwrap()
}

#[tokio::test]
async fn the_probability_of_a_step_does_not_depend_on_later_steps() {
    let (server, _engine) = serve();
    let (status, answer) = ask(&server, "2 + 3 is 5.<extra_0>5 + 4 is 9.<extra_0>").await;
    assert_eq!(status, StatusCode::OK, "{answer}");
    let steps: Vec<(&str, &str)> =
        content(&answer).split(',').map(|pair| pair.split_once(':').unwrap()).collect();
    assert_eq!(steps.iter().map(|(name, _)| *name).collect::<Vec<_>>(), ["step_1", "step_2"]);
    assert!(steps.iter().all(|(_, score)| (0.0..=1.0).contains(&score.parse::<f64>().unwrap())));

    let (_, longer) = ask(&server, "2 + 3 is 5.<extra_0>5 + 4 is 9.<extra_0>It is 8.<extra_0>").await;
    assert!(content(&longer).starts_with(content(&answer)), "{longer}");
    let metrics = axum::http::Request::get("/metrics").body(axum::body::Body::empty()).unwrap();
    let text = send(&server, metrics).await.text;
    assert!(text.contains(r#"attribute="step""#) && !text.contains(r#"attribute="step_1""#));
}

#[tokio::test]
async fn an_answer_without_steps_is_a_bad_request_that_says_what_is_missing() {
    let (server, _engine) = serve();
    let (status, answer) = ask(&server, "It is 9.").await;
    assert_eq!((status, &answer["error"]["code"]), (StatusCode::BAD_REQUEST, &json!("invalid_messages")));
    let message = answer["error"]["message"].as_str().unwrap();
    assert!(message.contains("put <extra_0> after each step"), "{message}");
}

const ASKED: &str = "<|im_start|>user\n2 + 3 + 4?<|im_end|>\n<|im_start|>assistant\n";

#[tokio::test]
async fn a_last_step_without_its_token_is_refused_on_every_route() {
    let (server, built) = serve();
    let encoder = Encoder::open(&built.path, &built.manifest.prompt).unwrap();
    let open = "2 + 3 is 5.<extra_0>5 + 4 is 9.";
    let templated = format!("{ASKED}{open}<|im_end|>\n");
    let ids = encoder.encode_text(&templated).unwrap();
    let messages = json!([{"role": "user", "content": "2 + 3 + 4?"}, {"role": "assistant", "content": open}]);
    for (path, body) in [
        ("/v1/chat/completions", json!({"messages": messages})),
        ("/classify", json!({"input": templated})),
        ("/classify", json!({"input": open})),
        ("/classify", json!({"input": ids})),
        ("/get_reward", json!({"query": [templated]})),
        ("/pooling", json!({"input": open})),
    ] {
        let (status, answer) = post(&server, path, &body).await;
        assert_eq!(status, StatusCode::BAD_REQUEST, "{path} {body}: {answer}");
        let text = answer.to_string();
        assert!(text.contains("does not end with <extra_0>"), "{path}: {answer}");
    }
}

#[tokio::test]
async fn white_space_and_control_tokens_may_follow_the_last_step() {
    let (server, _engine) = serve();
    let steps = "2 + 3 is 5.<extra_0>\n5 + 4 is 9.<extra_0>";
    for input in [
        steps.to_owned(),
        format!("{steps}\n"),
        format!("{ASKED}{steps}<|im_end|>\n"),
        format!("{ASKED}{steps} <|im_end|>\n<|im_start|>user\nAnd then?<|im_end|>\n"),
    ] {
        let (status, answer) = post(&server, "/classify", &json!({"input": input})).await;
        assert_eq!(status, StatusCode::OK, "{input:?}: {answer}");
    }
}

#[tokio::test]
async fn a_model_whose_steps_are_encoded_one_by_one_takes_messages_only() {
    let (server, built) = serve_model("skywork-prm-tiny");
    let answer = "2 + 3 is 5.\n5 + 4 is 9.";
    let messages =
        json!([{"role": "user", "content": "2 + 3 + 4?"}, {"role": "assistant", "content": answer}]);
    let (status, scored) = post(&server, "/v1/chat/completions", &json!({"messages": messages})).await;
    assert_eq!(status, StatusCode::OK, "{scored}");
    let names: Vec<&str> = content(&scored).split(',').map(|pair| pair.split_once(':').unwrap().0).collect();
    assert_eq!(names, ["step_1", "step_2"]);
    let (_, rewards) = post(&server, "/v1/rewards", &json!({"conversations": [messages]})).await;
    assert_eq!(rewards["data"][0]["scores"].as_object().unwrap().len(), 2, "{rewards}");
    let (_, models) = post(&server, "/tokenize", &json!({"messages": messages})).await;
    let encoder = Encoder::open(&built.path, &built.manifest.prompt).unwrap();
    let prompt = encoder.encode_text("<|endoftext|>2 + 3 + 4?\n").unwrap();
    assert_eq!(models["tokens"].as_array().unwrap()[..prompt.len()], json!(prompt).as_array().unwrap()[..]);
    for (path, body) in [
        ("/classify", json!({"input": "2 + 3?\nIt is 5.\n"})),
        ("/classify", json!({"input": [1, 2]})),
        ("/get_reward", json!({"query": ["2 + 3?\nIt is 5.\n"]})),
    ] {
        let (status, refused) = post(&server, path, &body).await;
        assert_eq!(status, StatusCode::BAD_REQUEST, "{path}: {refused}");
        assert!(refused.to_string().contains("encoded one by one"), "{path}: {refused}");
    }
    let asked = json!({"messages": [{"role": "user", "content": "2 + 3 + 4?"}]});
    let (status, refused) = post(&server, "/v1/chat/completions", &asked).await;
    assert_eq!(status, StatusCode::BAD_REQUEST, "{refused}");
    assert_eq!(refused["error"]["param"], "messages", "{refused}");
}
