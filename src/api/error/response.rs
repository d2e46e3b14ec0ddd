//! How an error is written out.

use std::time::Duration;

use axum::Json;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use utoipa::ToSchema;

use super::ApiError;
use super::classification::Classification;

/// Response extension that `observe` reads: metric label and log detail.
#[derive(Clone, Debug)]
pub(in crate::api) struct FailureLog {
    /// OpenAI's `code`, which is also the label of the metric.
    pub(in crate::api) code: &'static str,
    /// What happened, in full. Never holds a conversation's text.
    pub(in crate::api) detail: String,
    /// Whether the queue was full.
    pub(super) overloaded: bool,
}

/// An error in the format of OpenAI's API.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
pub(in crate::api) struct ErrorObject {
    /// What was wrong, where, and what to do.
    message: String,
    /// Who is at fault.
    r#type: &'static str,
    /// The field at fault.
    param: Option<String>,
    /// The error's name, under which it is counted.
    code: &'static str,
}

/// The body of a response that is an error.
#[derive(Serialize, ToSchema)]
#[schema(as = Error)]
pub(in crate::api) struct ErrorBody {
    pub(in crate::api) error: ErrorObject,
}

impl From<Classification> for ErrorObject {
    fn from(error: Classification) -> Self {
        Self { message: error.message, r#type: error.error_type, param: error.param, code: error.code }
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let class = self.classify();
        let (status, retry_after) = (class.status, class.retry_after);
        let failure =
            FailureLog { code: class.code, detail: self.to_string(), overloaded: self.is_overload() };
        let mut response = (status, Json(ErrorBody { error: class.into() })).into_response();
        if let Some(wait) = retry_after {
            response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(whole_seconds(wait)));
        }
        if status == StatusCode::UNAUTHORIZED {
            response.headers_mut().insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        response.extensions_mut().insert(failure);
        response
    }
}

/// A wait as `Retry-After` gives it, at least 1.
fn whole_seconds(wait: Duration) -> u64 {
    wait.as_secs_f64().ceil().max(1.0) as u64
}
