//! Clients that send what a plan says, and check what they get.

use std::convert::Infallible;
use std::ops::AddAssign;
use std::time::{Duration, Instant};

use axum::body::Body;
use axum::http::{Request, StatusCode, header};
use futures_util::stream;
use serde_json::Value;

use super::certificates::CertificateFiles;
use super::keys::{ClientKey, KeyFile};
use super::plan::PlannedRequest;
use crate::http::server::{Server, TestResponse};

/// A request that takes longer is starved. A slow machine never takes this long.
pub(super) const TIME_LIMIT: Duration = Duration::from_secs(300);

/// What the clients saw.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Seen {
    pub(super) answered: usize,
    pub(super) refused: usize,
    /// Refused requests that had no key or a wrong one.
    pub(super) without_key: usize,
    pub(super) left: usize,
    /// Items of answers that have an error of their own.
    pub(super) failed_items: usize,
}

impl AddAssign for Seen {
    fn add_assign(&mut self, other: Self) {
        self.answered += other.answered;
        self.refused += other.refused;
        self.without_key += other.without_key;
        self.left += other.left;
        self.failed_items += other.failed_items;
    }
}

/// An answer, and when its request was sent and answered.
pub(super) struct Answer {
    pub(super) response: TestResponse,
    pub(super) sent: Instant,
    answered: Instant,
}

/// A request with a key.
pub(super) fn with_key(path: &str, key: ClientKey, body: Body) -> Request<Body> {
    let mut request = Request::post(path).header("content-type", "application/json").body(body).unwrap();
    if let Some(key) = key.header() {
        request.headers_mut().insert(header::AUTHORIZATION, key.parse().unwrap());
    }
    request
}

/// Sends what a plan says, over TLS if there are certificates; `None` if the client left before the answer.
pub(super) async fn send(
    server: &Server,
    certificates: Option<&CertificateFiles>,
    plan: &PlannedRequest,
) -> Option<Answer> {
    tokio::time::sleep(plan.after).await;
    let mut connection = None;
    if let Some(certificates) = certificates {
        connection = Some(certificates.connect().await);
    }
    let text = plan.text.clone().unwrap_or_else(|| plan.body.to_string());
    let parts: Vec<(Duration, Vec<u8>)> = match plan.pieces.len() {
        0 => vec![(Duration::ZERO, text.into_bytes())],
        pieces => {
            let bytes = text.into_bytes();
            let pieces = plan.pieces.iter().copied().zip(bytes.chunks(bytes.len().div_ceil(pieces)));
            pieces.map(|(pause, piece)| (pause, piece.to_vec())).collect()
        }
    };
    let body = Body::from_stream(stream::unfold(parts.into_iter(), |mut parts| async move {
        let (pause, piece) = parts.next()?;
        tokio::time::sleep(pause).await;
        Some((Ok::<_, Infallible>(piece), parts))
    }));
    let sent = Instant::now();
    let answer = server.send(with_key(plan.path, plan.key, body));
    let response = match plan.leaves {
        Some(time) => tokio::time::timeout(time, answer).await.ok()?,
        None => {
            let answer = tokio::time::timeout(TIME_LIMIT, answer).await;
            answer.unwrap_or_else(|_| panic!("starved: {plan:?}"))
        }
    };
    let answered = Instant::now();
    if let Some(connection) = &mut connection {
        connection.carry(&response.text).await;
    }
    Some(Answer { response, sent, answered })
}

/// The scores in an answer, in a form that is the same whatever else is in it; null for an item without any.
pub(super) fn scores(path: &str, answer: &TestResponse) -> Vec<Value> {
    let json = answer.json();
    match path {
        "/v1/rewards" => json["data"].as_array().unwrap().iter().map(|item| item["scores"].clone()).collect(),
        "/v1/chat/completions" => vec![json["choices"][0]["logprobs"].clone()],
        _ => vec![json["data"].clone()],
    }
}

/// Checks an answer, with a server that nothing goes wrong in, and counts it.
pub(super) async fn check(
    plan: &PlannedRequest,
    answer: &Answer,
    keys: Option<&KeyFile>,
    calm: &Server,
    seen: &mut Seen,
) {
    let response = &answer.response;
    let without_key = response.status == StatusCode::UNAUTHORIZED;
    match keys {
        Some(keys) => keys.check(plan.key, answer.sent, answer.answered, without_key),
        None => assert!(!without_key, "{plan:?}"),
    }
    if response.status != StatusCode::OK {
        seen.refused += 1;
        seen.without_key += usize::from(without_key);
        assert!(!response.code().is_empty(), "an error without a code: {plan:?}: {}", response.text);
        let waits = response.status == StatusCode::TOO_MANY_REQUESTS;
        assert!(!waits || response.headers.contains_key("retry-after"), "{}", response.text);
        return;
    }
    seen.answered += 1;
    let mut body = plan.body.clone();
    body.as_object_mut().unwrap().retain(|name, _| name != "timeout" && name != "priority");
    let right = calm.ask(plan.path, body).await;
    let (found, expected) = (scores(plan.path, response), scores(plan.path, &right));
    assert_eq!(found.len(), expected.len(), "{plan:?}: {}", response.text);
    for (found, expected) in found.iter().zip(expected) {
        if found.is_null() {
            seen.failed_items += 1;
        } else {
            assert_eq!(*found, expected, "{plan:?}: {}", response.text);
        }
    }
}
