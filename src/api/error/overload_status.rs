//! The status of a response about a full queue.

use axum::http::StatusCode;
use axum::response::Response;

use super::response::FailureLog;
use crate::config::OverloadStatus;

/// Sets the status of a response about a full queue to the one that the operator chose, 429 or 503.
pub(in crate::api) fn apply_overload_status(response: &mut Response, status: OverloadStatus) {
    if response.extensions().get::<FailureLog>().is_some_and(|failure| failure.overloaded) {
        *response.status_mut() = match status {
            OverloadStatus::TooManyRequests => StatusCode::TOO_MANY_REQUESTS,
            OverloadStatus::ServiceUnavailable => StatusCode::SERVICE_UNAVAILABLE,
        };
    }
}
