//! What happens around every request: its id, its log line, its times, its traces, the count of its failure.

use std::any::Any;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Instant;

use axum::body::{Body, Bytes, HttpBody};
use axum::extract::{MatchedPath, Request, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use hyper::body::{Frame, SizeHint};
use opentelemetry::KeyValue;
use opentelemetry::propagation::Extractor;
use tracing::{Instrument, Span};
use uuid::Uuid;

use super::error::apply_overload_status;
use super::{ApiError, App, Failure};
use crate::serving::timings::{Record, Stage, Timings};
use crate::telemetry::traces::{self, Part, Traces};

const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
const SERVER_TIMING: HeaderName = HeaderName::from_static("server-timing");
/// Longer ids are replaced: they go into log lines.
const LONGEST_ID: usize = 128;

/// Wraps every handler.
pub(super) async fn observe(State(app): State<Arc<App>>, request: Request, next: Next) -> Response {
    let begin = Instant::now();
    let id = request_id(request.headers());
    let span = span(&request, &id);
    let timings = Timings::default();
    let traced = app.traces.clone().map(|traces| Traced::new(traces, &request, &id, begin, &timings));
    let answer = async {
        tracing::debug!("request");
        let mut response = timings.scope(next.run(request)).await;
        apply_overload_status(&mut response, app.settings.server.overload_status);
        tell(&app, &response, begin);
        response
    };
    let mut response = answer.instrument(span).await;
    timings.answer_complete();
    response.headers_mut().insert(REQUEST_ID, id);
    if let Some(timing) = server_timing(&timings.read()) {
        response.headers_mut().insert(SERVER_TIMING, timing);
    }
    match traced {
        Some(traced) => traced.until_sent(response),
        None => response,
    }
}

/// The stages in milliseconds, as the header `Server-Timing`; `None` if there are none.
fn server_timing(record: &Record) -> Option<HeaderValue> {
    let mut text = String::new();
    for stage in Stage::ALL {
        let Some(period) = record.stage(stage) else { continue };
        let separator = if text.is_empty() { "" } else { ", " };
        let milliseconds = period.length().as_secs_f64() * 1e3;
        text.push_str(&format!("{separator}{};dur={milliseconds:.3}", stage.name()));
    }
    if text.is_empty() { None } else { HeaderValue::try_from(text).ok() }
}

/// What every log line of the request bears, whatever the level of the line.
fn span(request: &Request, id: &HeaderValue) -> Span {
    let span = tracing::error_span!(
        "request",
        id = id.to_str().unwrap_or_default(),
        method = %request.method(),
        path = request.uri().path(),
        key = tracing::field::Empty,
        trace_id = tracing::field::Empty,
    );
    if let Some(trace) = traces::trace_id(&Headers(request.headers())) {
        span.record("trace_id", trace);
    }
    span
}

fn tell(app: &App, response: &Response, begin: Instant) {
    let status = response.status().as_u16();
    let milliseconds = begin.elapsed().as_secs_f64() * 1e3;
    let Some(failure) = response.extensions().get::<Failure>() else {
        tracing::debug!(status, milliseconds, "answered");
        return;
    };
    app.metrics.failed(failure.label);
    if response.status().is_server_error() {
        tracing::warn!(status, milliseconds, code = failure.label, "{}", failure.private);
    } else {
        tracing::debug!(status, milliseconds, code = failure.label, "refused");
    }
}

/// The client's id, or one of ours.
fn request_id(headers: &HeaderMap) -> HeaderValue {
    let given =
        headers.get(REQUEST_ID).filter(|id| !id.is_empty() && id.len() <= LONGEST_ID && id.to_str().is_ok());
    let made = || {
        let mut buffer = Uuid::encode_buffer();
        HeaderValue::from_str(Uuid::new_v4().hyphenated().encode_lower(&mut buffer))
            .unwrap_or_else(|_| HeaderValue::from_static("-"))
    };
    given.cloned().unwrap_or_else(made)
}

/// Headers as OpenTelemetry reads them.
struct Headers<'a>(&'a HeaderMap);

impl Extractor for Headers<'_> {
    fn get(&self, key: &str) -> Option<&str> {
        self.0.get(key).and_then(|value| value.to_str().ok())
    }

    fn keys(&self) -> Vec<&str> {
        self.0.keys().map(HeaderName::as_str).collect()
    }
}

/// A request that becomes spans once its answer is complete, or its client has left.
struct Traced {
    traces: Traces,
    timings: Timings,
    headers: HeaderMap,
    method: Method,
    path: String,
    id: HeaderValue,
    begin: Instant,
    /// Status and error of the answer; none until there is one.
    outcome: Option<(u16, Option<&'static str>)>,
}

/// What nginx calls the status of a request whose client has left before the answer.
const CLIENT_LEFT: u16 = 499;

impl Traced {
    fn new(traces: Traces, request: &Request, id: &HeaderValue, begin: Instant, timings: &Timings) -> Self {
        let route = request.extensions().get::<MatchedPath>().map(MatchedPath::as_str);
        Self {
            traces,
            timings: timings.clone(),
            headers: request.headers().clone(),
            method: request.method().clone(),
            // The path of an unknown route is a client's own words; there may be any number of them.
            path: route.unwrap_or("unknown").to_owned(),
            id: id.clone(),
            begin,
            outcome: None,
        }
    }

    fn until_sent(mut self, response: Response) -> Response {
        let error = response.extensions().get::<Failure>().map(|failure| failure.label);
        self.outcome = Some((response.status().as_u16(), error));
        response.map(|body| Body::new(Watched { body, _traced: self }))
    }
}

impl Drop for Traced {
    fn drop(&mut self) {
        self.timings.answer_complete();
        let record = self.timings.read();
        let (status, error) = self.outcome.unwrap_or((CLIENT_LEFT, Some("client_left")));
        let count = |name: &'static str, number: usize| KeyValue::new(name, number as i64);
        let request = traces::Request {
            headers: &Headers(&self.headers),
            method: self.method.as_str(),
            path: &self.path,
            id: self.id.to_str().unwrap_or_default(),
            status,
            error,
            attributes: vec![
                count("assay.sequences", record.sequences),
                count("gen_ai.usage.input_tokens", record.prompt_tokens),
                count("assay.cached_tokens", record.cached_tokens),
            ],
            begin: self.begin,
            end: Instant::now(),
        };
        let parts = Stage::ALL.iter().filter_map(|&stage| {
            let period = record.stage(stage)?;
            Some(Part { name: stage.name(), begin: period.start, end: period.end })
        });
        self.traces.record(request, &parts.collect::<Vec<_>>());
    }
}

/// A body that holds its request's trace open until it was sent.
struct Watched {
    body: Body,
    _traced: Traced,
}

impl HttpBody for Watched {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        Pin::new(&mut self.body).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
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
