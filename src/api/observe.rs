//! What happens around every request: its id, and the count and the log line of its failure.

use std::any::Any;
use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use uuid::Uuid;

use super::{ApiError, App, Failure};

const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
/// Longer ids are replaced: they go into log lines.
const LONGEST_ID: usize = 128;

/// Wraps every handler.
pub(super) async fn observe(State(app): State<Arc<App>>, request: Request, next: Next) -> Response {
    let id = request_id(request.headers());
    tracing::debug!(id = ?id, method = %request.method(), path = request.uri().path(), "request");
    let mut response = next.run(request).await;
    if let Some(failure) = response.extensions().get::<Failure>() {
        app.metrics.failed(failure.label);
        let status = response.status().as_u16();
        if response.status().is_server_error() {
            tracing::warn!(id = ?id, status, code = failure.label, "{}", failure.private);
        } else {
            tracing::debug!(id = ?id, status, code = failure.label, "refused");
        }
    }
    response.headers_mut().insert(REQUEST_ID, id);
    response
}

/// The client's id, or one of ours.
fn request_id(headers: &HeaderMap) -> HeaderValue {
    let given = headers.get(REQUEST_ID).filter(|id| !id.is_empty() && id.len() <= LONGEST_ID);
    let made = || {
        let mut buffer = Uuid::encode_buffer();
        HeaderValue::from_str(Uuid::new_v4().hyphenated().encode_lower(&mut buffer))
            .unwrap_or_else(|_| HeaderValue::from_static("-"))
    };
    given.cloned().unwrap_or_else(made)
}

/// The answer of a handler that panicked.
pub(super) fn panicked(panic: Box<dyn Any + Send>) -> Response {
    let text = panic
        .downcast_ref::<&str>()
        .map(|text| (*text).to_owned())
        .or_else(|| panic.downcast_ref::<String>().cloned())
        .unwrap_or_else(|| "a panic without words".into());
    ApiError::Internal(text).into_response()
}
