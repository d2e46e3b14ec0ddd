//! Bodies in flight: how much memory they may take together, and how many answers one may ask for.

use std::convert::Infallible;

use axum::body::Body;
use axum::http::Request;
use futures_util::{FutureExt, StreamExt, stream};
use serde_json::json;
use tower::ServiceExt;

use super::engines::instant;
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
async fn a_huge_text_is_refused_without_making_tokens_of_it() {
    let server = Server::start();
    let huge = "word ".repeat(1_000_000);
    let start = std::time::Instant::now();
    for (path, body) in [
        ("/v1/chat/completions", json!({"messages": [{"role": "user", "content": huge}]})),
        ("/classify", json!({"input": huge})),
        ("/classify", json!({"input": huge, "add_special_tokens": false})),
        ("/v1/rewards", json!({"messages": [{"role": "user", "content": "a"}], "responses": [huge]})),
    ] {
        let answer = server.ask(path, body).await;
        assert!(answer.text.contains("context_length_exceeded"), "{path}: {}", answer.text);
        assert!(answer.text.contains("has 5000"), "{path}: {}", answer.text);
        assert!(answer.text.contains("this model's maximum context length is 256 tokens"), "{}", answer.text);
    }
    // Making tokens of one of them takes seconds in a debug build.
    assert!(start.elapsed().as_secs() < 10, "{:?}", start.elapsed());
}
