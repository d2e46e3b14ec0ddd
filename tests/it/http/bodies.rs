//! Bodies in flight: how much memory they may take together, and how many answers one may ask for.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::http::Request;
use futures_util::{FutureExt, StreamExt, stream};
use serde_json::{Value, json};
use tower::ServiceExt;

use super::engines::{instant, stalled};
use super::failures::{count, until};
use super::server::{Server, paris};

/// A body of `length` bytes whose end never comes.
fn endless(length: usize) -> Body {
    let piece = stream::once(async move { Ok::<_, Infallible>(vec![b' '; length]) });
    Body::from_stream(piece.chain(stream::pending()))
}

#[tokio::test]
async fn bodies_share_a_budget_that_small_ones_do_not_need() {
    let server = Server::with(|settings| settings.server.max_inflight_bytes = 200_000, instant());
    let large = || format!("{}{}", " ".repeat(200_000), paris());
    assert_eq!(server.post(large()).await.status, 200);
    let request = Request::post("/v1/chat/completions").body(endless(200_000)).unwrap();
    let mut slow = Box::pin(server.router().oneshot(request));
    assert!((&mut slow).now_or_never().is_none());
    let refused = server.post(large()).await;
    assert_eq!((refused.status.as_u16(), refused.code().as_str()), (429, "overloaded"));
    assert_eq!(refused.headers["retry-after"], "1");
    assert!(refused.text.contains("200000 bytes"), "{}", refused.text);
    assert_eq!(server.chat(paris()).await.status, 200);
    // The client of the slow body leaves.
    drop(slow);
    assert_eq!(server.post(large()).await.status, 200);
}

#[tokio::test]
async fn a_list_of_tiny_texts_takes_room_for_its_items() {
    let server = Arc::new(Server::with(|settings| settings.server.max_inflight_bytes = 1 << 20, stalled()));
    let send = |first: usize| {
        let responses: Vec<String> = (first..first + 4000).map(|number| number.to_string()).collect();
        let body = json!({"messages": [{"role": "user", "content": "a"}], "responses": responses});
        let server = server.clone();
        tokio::spawn(async move { server.ask("/v1/rewards", body).await })
    };
    let waiting = || count(&server, "num_requests_waiting");
    // A request may have 1,024 with the scheduler at once, of which the engine takes a few.
    let first = send(0);
    until(|| waiting() >= 1000.0).await;
    let second = send(4000);
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert!(waiting() <= 1024.0, "the second waits until there is room for its items");
    first.abort();
    until(|| count(&server, "request_cancelled_total") >= 1000.0 && waiting() >= 1000.0).await;
    second.abort();
}

#[tokio::test]
async fn lists_of_tokens_share_a_budget_until_they_are_read() {
    let server = Server::with(|settings| settings.server.max_inflight_bytes = 100_000, instant());
    let send = async |path: &str, body: Value| {
        let request = Request::post(path).body(Body::from(body.to_string())).unwrap();
        server.router().oneshot(request).await.unwrap()
    };
    let text = |words: usize| "a b ".repeat(words / 2);
    for (path, field, small, large, huge) in [
        ("/tokenize", "inputs", json!(text(10)), json!(text(1000)), json!(text(4000))),
        ("/v1/encode", "input", json!(text(10)), json!(text(20_000)), json!(text(80_000))),
        ("/tokenize", "prompt", json!(text(10)), json!(text(20_000)), json!(text(80_000))),
    ] {
        let unread = send(path, json!({field: large})).await;
        assert_eq!(unread.status(), 200, "{path}");
        let refused = server.ask(path, json!({field: large})).await;
        assert_eq!((refused.status.as_u16(), refused.code().as_str()), (429, "overloaded"), "{path}");
        assert_eq!(server.ask(path, json!({field: small})).await.status, 200);
        let endless = server.ask(path, json!({field: huge})).await;
        assert_eq!((endless.status.as_u16(), endless.code().as_str()), (400, "invalid_value"), "{path}");
        assert_eq!(endless.json()["error"]["param"], field);
        drop(unread);
        let read = server.ask(path, json!({field: large})).await;
        assert_eq!(read.status, 200);
        assert!(read.json().is_array() || read.json().is_object());
    }
}

#[tokio::test]
async fn a_huge_text_is_refused_without_tokenizing_it() {
    let server = Server::start();
    let huge = "word ".repeat(1_000_000);
    for (path, body) in [
        ("/v1/chat/completions", json!({"messages": [{"role": "user", "content": huge}]})),
        ("/classify", json!({"input": huge})),
        ("/classify", json!({"input": huge, "add_special_tokens": false})),
        ("/v1/rewards", json!({"messages": [{"role": "user", "content": "a"}], "responses": [huge]})),
    ] {
        let answer = server.ask(path, body).await;
        assert!(answer.text.contains("context_length_exceeded"), "{path}: {}", answer.text);
        assert!(answer.text.contains("has 5000"), "{path}: {}", answer.text);
        assert!(
            answer.text.contains(" bytes, which are at least "),
            "its tokens were counted: {}",
            answer.text
        );
        assert!(answer.text.contains("this model's maximum context length is 256 tokens"), "{}", answer.text);
    }
}
