//! What a client receives when the failure is not its own.

use std::pin::Pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use assay::config::{OverloadStatus, Seconds};
use axum::http::StatusCode;
use serde_json::{Value, json};
use tokio::task::JoinHandle;

use super::engines::{failing, instant, not_a_number, stalled};
use super::server::{Server, TestResponse, chat, paris};

/// Waits until `condition` holds; a test that waits in vain fails.
pub(super) async fn until(condition: impl Fn() -> bool) {
    let all = async {
        while !condition() {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), all).await.expect("it never came to that");
}

fn metric(server: &Server, line: &str) -> f64 {
    let text = server.app.metrics.render().unwrap();
    let value = text.lines().find_map(|each| each.strip_prefix(line)?.strip_prefix(' '));
    value.map_or(0.0, |value| value.parse().unwrap())
}

const LABEL: &str = "{model_name=\"nvidia/nemotron-4-340b-reward\"}";

pub(super) fn count(server: &Server, name: &str) -> f64 {
    metric(server, &format!("{name}{LABEL}"))
}

#[tokio::test]
async fn until_the_engine_is_loaded_the_server_is_alive_and_not_ready() {
    let mut server = Server::starting(|_| {});
    assert_eq!(server.get("/v1/health/live").await.status, StatusCode::OK);
    assert_eq!(server.get("/v1/health/ready").await.status, StatusCode::SERVICE_UNAVAILABLE);
    let answer = server.chat(paris()).await;
    assert_eq!((answer.status, answer.code().as_str()), (StatusCode::SERVICE_UNAVAILABLE, "starting"));
    assert!(answer.headers.contains_key("retry-after"));

    server.load(instant());
    assert_eq!(server.get("/v1/health/ready").await.status, StatusCode::OK);
    assert_eq!(server.chat(paris()).await.status, StatusCode::OK);
}

#[tokio::test]
async fn a_full_queue_is_429_and_says_when_to_come_back() {
    overloaded(OverloadStatus::TooManyRequests, StatusCode::TOO_MANY_REQUESTS).await;
}

#[tokio::test]
async fn a_full_queue_is_503_where_that_is_asked_for() {
    overloaded(OverloadStatus::ServiceUnavailable, StatusCode::SERVICE_UNAVAILABLE).await;
}

/// The first answer that any of `requests` gets.
async fn first(requests: &mut [JoinHandle<TestResponse>]) -> TestResponse {
    std::future::poll_fn(|context| {
        let mut answers = requests.iter_mut().map(|request| Pin::new(request).poll(context));
        answers.find(Poll::is_ready).unwrap_or(Poll::Pending)
    })
    .await
    .unwrap()
}

async fn overloaded(option: OverloadStatus, expected: StatusCode) {
    let change = |settings: &mut assay::config::Settings| {
        settings.scheduling.max_queue_requests = 1;
        settings.server.overload_status = option;
    };
    let server = Arc::new(Server::with(change, stalled()));
    let send = |number: usize| {
        let server = server.clone();
        let mut request = paris();
        request["messages"][1]["content"] = json!(format!("Answer {number}"));
        tokio::spawn(async move { server.chat(request).await })
    };
    // Some stay in flight, one waits, and the rest find the queue full.
    let mut requests: Vec<_> = (0..30).map(send).collect();
    let refused = first(&mut requests).await;
    assert_eq!((refused.status, refused.code().as_str()), (expected, "overloaded"));
    assert!(refused.headers["retry-after"].to_str().unwrap().parse::<u64>().unwrap() >= 1);
    let reason = "request_errors_total{reason=\"overloaded\",model_name=\"nvidia/nemotron-4-340b-reward\"}";
    assert!(metric(&server, reason) >= 1.0);
    requests.iter().for_each(JoinHandle::abort);
}

/// Requests to every kind of route with a text of this many words.
fn requests_of(words: usize) -> [(&'static str, Value); 8] {
    let long = "word ".repeat(words);
    let turns = json!([{"role": "user", "content": "q"}, {"role": "assistant", "content": long}]);
    [
        ("/v1/chat/completions", json!({"messages": turns})),
        ("/v1/rewards", json!({"conversations": [turns]})),
        ("/v1/rewards", json!({"messages": turns, "responses": ["a", "b"]})),
        ("/classify", json!({"input": long})),
        ("/pooling", json!({"input": [long, "b"]})),
        ("/rerank", json!({"query": "q", "documents": [long]})),
        ("/get_reward", json!({"query": [long]})),
        ("/invocations", json!({"messages": turns})),
    ]
}

#[tokio::test]
async fn a_full_queue_refuses_a_request_before_its_texts_are_encoded() {
    let server = Server::with(|settings| settings.scheduling.max_queue_requests = 0, instant());
    let roomy = Server::start();
    for (path, body) in requests_of(400) {
        let refused = server.ask(path, body.clone()).await;
        assert_eq!(refused.status, StatusCode::TOO_MANY_REQUESTS, "{path}: {}", refused.text);
        assert!(refused.headers.contains_key("retry-after") && refused.code() == "overloaded", "{path}");
        // Where there is room, all are tokenized and found to be too long.
        let answer = roomy.ask(path, body).await;
        assert!(answer.text.contains("maximum context length"), "{path}: {}", answer.text);
    }
    // Mistakes in a request are still reported, and a request without texts needs no room.
    let unknown = server.ask("/classify", json!({"input": "a", "model": "other"})).await;
    assert_eq!(unknown.status, StatusCode::NOT_FOUND);
    assert_eq!(server.ask("/get_reward", json!({"query": []})).await.status, StatusCode::OK);
}

#[tokio::test]
async fn a_request_that_comes_too_late_for_its_deadline_is_refused_before_its_texts_are_encoded() {
    let server = Server::start();
    // The second size is prepared on a worker thread.
    for (path, mut body) in requests_of(400).into_iter().chain(requests_of(20_000)) {
        body["timeout"] = json!(1e-9);
        let refused = server.ask(path, body).await;
        assert_eq!(refused.status, StatusCode::GATEWAY_TIMEOUT, "{path}: {}", refused.text);
        assert_eq!(
            (refused.code().as_str(), &refused.json()["error"]["param"]),
            ("deadline_exceeded", &json!("timeout"))
        );
    }
}

#[tokio::test]
async fn a_client_that_leaves_frees_its_place() {
    let server = Arc::new(Server::with(|_| {}, stalled()));
    let request = tokio::spawn({
        let server = server.clone();
        async move { server.chat(paris()).await }
    });
    until(|| count(&server, "num_requests_running") == 1.0).await;
    request.abort();
    until(|| count(&server, "request_cancelled_total") == 1.0).await;
}

#[tokio::test]
async fn a_request_that_is_not_answered_in_time_is_504() {
    let server = Server::with(
        |settings| settings.server.timeout = Some(Seconds(Duration::from_secs(3600))),
        stalled(),
    );
    let mut field = paris();
    field["timeout"] = json!(0.05);
    let answer = server.chat(field).await;
    assert_eq!((answer.status, answer.code().as_str()), (StatusCode::GATEWAY_TIMEOUT, "deadline_exceeded"));
    assert_eq!(answer.json()["error"]["type"], "timeout_error");
    assert_eq!(answer.json()["error"]["param"], "timeout");

    let mut header = chat(paris().to_string());
    header.headers_mut().insert("X-Request-Timeout", "0.05".parse().unwrap());
    let answer = server.send(header).await;
    assert_eq!(answer.status, StatusCode::GATEWAY_TIMEOUT);
    assert_eq!(answer.json()["error"]["param"], "X-Request-Timeout");
}

#[tokio::test]
async fn the_server_has_a_time_limit_for_requests_that_bring_none() {
    let server = Server::with(
        |settings| settings.server.timeout = Some(Seconds(Duration::from_millis(50))),
        stalled(),
    );
    let answer = server.chat(paris()).await;
    assert_eq!(answer.status, StatusCode::GATEWAY_TIMEOUT);
    assert_eq!(answer.json()["error"]["param"], serde_json::Value::Null);
}

#[tokio::test]
async fn a_failed_engine_is_500_never_a_score_and_the_server_is_not_ready() {
    let change = |settings: &mut assay::config::Settings| {
        settings.engine.on_engine_failure = assay::scheduler::OnFailure::Exit
    };
    let secret = "tensor 0x7f3a fell over";
    let server = Server::with(change, failing(secret));
    let answer = server.chat(paris()).await;
    assert_eq!((answer.status, answer.code().as_str()), (StatusCode::INTERNAL_SERVER_ERROR, "engine_failed"));
    assert!(!answer.text.contains("0x7f3a"), "{}", answer.text);
    tokio::time::timeout(Duration::from_secs(20), server.scheduler.failed()).await.unwrap();
    assert_eq!(server.get("/v1/health/ready").await.status, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(count(&server, "engine_failures_total"), 1.0);
}

#[tokio::test]
async fn a_head_that_gives_nan_is_500_for_that_request_counted_and_never_a_score() {
    let mut server = Server::starting(|_| {});
    server.load(not_a_number());
    let answer = server.chat(paris()).await;
    assert_eq!(
        (answer.status, answer.code().as_str()),
        (StatusCode::INTERNAL_SERVER_ERROR, "non_finite_score")
    );
    assert!(answer.json()["error"]["message"].as_str().unwrap().contains("helpfulness"));
    assert_eq!(count(&server, "reward_non_finite_scores_total"), 1.0);
    assert_eq!(count(&server, "request_success_total"), 0.0);
    assert_eq!(server.get("/v1/health/ready").await.status, StatusCode::OK);
}

#[tokio::test]
async fn a_server_that_is_ending_takes_nothing_new() {
    let server = Server::start();
    server.scheduler.drain();
    assert_eq!(server.get("/v1/health/ready").await.status, StatusCode::SERVICE_UNAVAILABLE);
    let answer = server.chat(paris()).await;
    assert_eq!((answer.status, answer.code().as_str()), (StatusCode::SERVICE_UNAVAILABLE, "shutting_down"));
}
