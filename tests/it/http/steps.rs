//! A process reward model, from its checkpoint to its answers.

use std::sync::Arc;

use assay::api::{App, router};
use assay::config::Settings;
use assay::prompt::Encoder;
use assay::scheduler;
use assay::serving::Scorer;
use axum::Router;
use axum::body::to_bytes;
use axum::http::StatusCode;
use serde_json::{Value, json};
use tower::ServiceExt;

use super::engines::{Built, of_checkpoint};
use super::server::chat;

/// A server of `math-prm-tiny`.
fn serve() -> (Router, Built) {
    let mut built = of_checkpoint("math-prm-tiny");
    let settings = Settings::defaults(built.path.clone());
    let app = Arc::new(App::new(settings.clone(), &built.manifest).unwrap());
    let factory = built.factory.take().unwrap();
    let scheduler = scheduler::start(factory, settings.scheduler(), app.metrics.clone()).unwrap();
    let encoder = Encoder::open(&built.path, &built.manifest.prompt).unwrap();
    let head = settings.scoring.head(&built.manifest.head).unwrap();
    app.start(Scorer::new(encoder, head, scheduler, app.metrics.clone()));
    (router(app).unwrap(), built)
}

async fn ask(server: &Router, answer: &str) -> (StatusCode, Value) {
    let messages =
        json!([{"role": "user", "content": "2 + 3 + 4?"}, {"role": "assistant", "content": answer}]);
    let body = json!({"model": "math-prm-tiny", "messages": messages}).to_string();
    let response = server.clone().oneshot(chat(body)).await.unwrap();
    let (parts, body) = response.into_parts();
    let text = to_bytes(body, usize::MAX).await.unwrap();
    (parts.status, serde_json::from_slice(&text).unwrap())
}

fn content(answer: &Value) -> &str {
    answer["choices"][0]["message"]["content"].as_str().unwrap()
}

#[tokio::test]
async fn every_step_has_a_probability_that_what_follows_does_not_change() {
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
    let body = server.oneshot(metrics).await.unwrap().into_body();
    let text = String::from_utf8(to_bytes(body, usize::MAX).await.unwrap().to_vec()).unwrap();
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
