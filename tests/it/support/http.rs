//! Requests to a server in this process, and its answers.

use axum::Router;
use axum::body::Body;
use axum::http::{HeaderMap, Request, Response, StatusCode, header};
use serde_json::Value;
use tower::ServiceExt;

/// An answer, read to its end.
pub struct TestResponse {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub text: String,
}

impl TestResponse {
    pub async fn read(response: Response<Body>) -> Self {
        let (parts, body) = response.into_parts();
        let bytes = axum::body::to_bytes(body, usize::MAX).await.unwrap();
        let text = String::from_utf8(bytes.to_vec()).unwrap();
        Self { status: parts.status, headers: parts.headers, text }
    }

    /// The body as JSON.
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_else(|error| panic!("{error}: {}", self.text))
    }
}

/// A request with JSON.
pub fn json_request(path: &str, body: impl Into<Body>) -> Request<Body> {
    Request::post(path).header(header::CONTENT_TYPE, "application/json").body(body.into()).unwrap()
}

/// Sends a request.
pub async fn send(router: &Router, request: Request<Body>) -> TestResponse {
    TestResponse::read(router.clone().oneshot(request).await.unwrap()).await
}

/// Posts JSON to a path; returns the status and the JSON of the answer.
pub async fn post(router: &Router, path: &str, body: &Value) -> (StatusCode, Value) {
    let answer = send(router, json_request(path, body.to_string())).await;
    (answer.status, answer.json())
}
