//! A request as spans of a trace.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Instant;

use axum::body::{Body, Bytes, HttpBody};
use axum::extract::{MatchedPath, Request};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method};
use axum::response::Response;
use hyper::body::{Frame, SizeHint};
use opentelemetry::KeyValue;
use opentelemetry::propagation::Extractor;

use crate::api::error::FailureLog;
use crate::serving::timings::{Stage, Timings};
use crate::telemetry::traces::{self, RequestSpan, StageSpan, Traces};

/// nginx's status for a request whose client has left before the response.
const CLIENT_LEFT: u16 = 499;

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

/// Id of the trace that a request's headers name, if they do.
pub(super) fn id(headers: &HeaderMap) -> Option<String> {
    traces::trace_id(&Headers(headers))
}

/// A request that is recorded once its response is complete, or its client has left.
pub(super) struct Trace {
    traces: Traces,
    timings: Timings,
    headers: HeaderMap,
    method: Method,
    path: String,
    id: HeaderValue,
    start: Instant,
    /// Status and error of the response; `None` until there is one.
    outcome: Option<(u16, Option<&'static str>)>,
}

impl Trace {
    pub(super) fn new(
        traces: Traces,
        request: &Request,
        id: &HeaderValue,
        start: Instant,
        timings: &Timings,
    ) -> Self {
        let route = request.extensions().get::<MatchedPath>().map(MatchedPath::as_str);
        Self {
            traces,
            timings: timings.clone(),
            headers: request.headers().clone(),
            method: request.method().clone(),
            // Clients can make up any number of paths that are not routes.
            path: route.unwrap_or("unknown").to_owned(),
            id: id.clone(),
            start,
            outcome: None,
        }
    }

    /// Keeps the trace open until the response was sent.
    pub(super) fn until_sent(mut self, response: Response) -> Response {
        let error = response.extensions().get::<FailureLog>().map(|failure| failure.code);
        self.outcome = Some((response.status().as_u16(), error));
        response.map(|body| Body::new(TracedBody { body, _trace: self }))
    }
}

impl Drop for Trace {
    fn drop(&mut self) {
        self.timings.answer_complete();
        let record = self.timings.read();
        let (status, error) = self.outcome.unwrap_or((CLIENT_LEFT, Some("client_left")));
        let request = RequestSpan {
            headers: &Headers(&self.headers),
            method: self.method.as_str(),
            path: &self.path,
            id: self.id.to_str().unwrap_or_default(),
            status,
            error,
            attributes: vec![
                KeyValue::new("assay.sequences", record.sequences as i64),
                KeyValue::new("gen_ai.usage.input_tokens", record.prompt_tokens as i64),
                KeyValue::new("assay.cached_tokens", record.cached_tokens as i64),
            ],
            start: self.start,
            end: Instant::now(),
        };
        let mut stages = Vec::new();
        for stage in Stage::ALL {
            if let Some(period) = record.stage(stage) {
                stages.push(StageSpan { name: stage.name(), start: period.start, end: period.end });
            }
        }
        self.traces.record(request, &stages);
    }
}

/// A body that holds its request's trace open until it was sent.
struct TracedBody {
    body: Body,
    _trace: Trace,
}

impl HttpBody for TracedBody {
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
