//! Gives every request its id, its log lines, its timings and its trace, and counts its failure.

use std::any::Any;
use std::sync::Arc;
use std::time::Instant;

use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use tracing::{Instrument, Span};
use uuid::Uuid;

use super::trace::{self, Trace};
use crate::api::app::App;
use crate::api::deadline;
use crate::api::error::{ApiError, FailureLog, apply_overload_status};
use crate::api::response_id::{self, LONGEST_ID, RequestId};
use crate::api::wire::milliseconds;
use crate::serving::timings::{Record, Stage, Timings};

const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
const SERVER_TIMING: HeaderName = HeaderName::from_static("server-timing");

/// Wraps every handler.
pub(in crate::api) async fn observe(State(app): State<Arc<App>>, request: Request, next: Next) -> Response {
    let start = Instant::now();
    let given = given_id(request.headers());
    let is_from_header = given.is_some();
    let id = given.unwrap_or_else(new_id);
    let request_id = RequestId { id: id.to_str().unwrap_or_default().to_owned(), is_from_header };
    let span = span(&request, &id);
    let timings = Timings::default();
    let trace = app.traces.clone().map(|traces| Trace::new(traces, &request, &id, start, &timings));
    let answer = async {
        tracing::debug!("request");
        let run = response_id::scope(request_id, next.run(request));
        let mut response = timings.scope(deadline::scope(run)).await;
        apply_overload_status(&mut response, app.settings.server.overload_status);
        log_outcome(&app, &response, start);
        response
    };
    let mut response = answer.instrument(span).await;
    timings.answer_complete();
    response.headers_mut().insert(REQUEST_ID, id);
    if let Some(timing) = server_timing(&timings.read()) {
        response.headers_mut().insert(SERVER_TIMING, timing);
    }
    match trace {
        Some(trace) => trace.until_sent(response),
        None => response,
    }
}

/// The stages in milliseconds, as the header `Server-Timing`; `None` if there are none.
fn server_timing(record: &Record) -> Option<HeaderValue> {
    let mut text = String::new();
    for stage in Stage::ALL {
        let Some(period) = record.stage(stage) else { continue };
        let separator = if text.is_empty() { "" } else { ", " };
        text.push_str(&format!("{separator}{};dur={}", stage.name(), milliseconds(period.length())));
    }
    if text.is_empty() { None } else { HeaderValue::try_from(text).ok() }
}

/// What every log line of the request carries, whatever the level of the line.
fn span(request: &Request, id: &HeaderValue) -> Span {
    let span = tracing::error_span!(
        "request",
        id = id.to_str().unwrap_or_default(),
        method = %request.method(),
        path = request.uri().path(),
        key = tracing::field::Empty,
        trace_id = tracing::field::Empty,
    );
    if let Some(trace) = trace::id(request.headers()) {
        span.record("trace_id", trace);
    }
    span
}

fn log_outcome(app: &App, response: &Response, start: Instant) {
    let status = response.status().as_u16();
    let milliseconds = start.elapsed().as_secs_f64() * 1e3;
    let Some(failure) = response.extensions().get::<FailureLog>() else {
        tracing::debug!(status, milliseconds, "answered");
        return;
    };
    app.metrics.failed(failure.code);
    if response.status().is_server_error() {
        tracing::warn!(status, milliseconds, code = failure.code, "{}", failure.detail);
    } else {
        tracing::debug!(status, milliseconds, code = failure.code, "refused");
    }
}

/// The client's id, if it can be used.
fn given_id(headers: &HeaderMap) -> Option<HeaderValue> {
    let id = headers.get(REQUEST_ID)?;
    let usable = !id.is_empty() && id.len() <= LONGEST_ID && id.to_str().is_ok();
    usable.then(|| id.clone())
}

fn new_id() -> HeaderValue {
    let mut buffer = Uuid::encode_buffer();
    HeaderValue::from_str(Uuid::new_v4().hyphenated().encode_lower(&mut buffer))
        .unwrap_or_else(|_| HeaderValue::from_static("-"))
}

/// The response of a handler that panicked.
pub(in crate::api) fn panicked(payload: Box<dyn Any + Send>) -> Response {
    let text = match payload.downcast::<String>() {
        Ok(text) => *text,
        Err(payload) => payload
            .downcast_ref::<&str>()
            .map_or_else(|| "panicked with a non-string payload".to_owned(), |text| (*text).to_owned()),
    };
    ApiError::Internal(text).into_response()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn stages_are_listed_in_order() {
        let timings = Timings::default();
        assert_eq!(server_timing(&timings.read()), None);
        timings.add_sequence((7, 2), Duration::from_secs(1), Duration::from_secs(3));
        let header = server_timing(&timings.read()).unwrap();
        let text = header.to_str().unwrap();
        assert!(text.starts_with("queue;dur=") && text.contains(", engine;dur=3"), "{text}");
    }
}
