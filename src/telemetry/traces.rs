//! Traces over OTLP, where OpenTelemetry's own variables name a place for them.

use std::sync::Arc;
use std::time::{Instant, SystemTime};

use opentelemetry::propagation::{Extractor, TextMapPropagator};
use opentelemetry::trace::{Span, SpanContext, SpanKind, Status, TraceContextExt, Tracer, TracerProvider};
use opentelemetry::{Context, KeyValue};
use opentelemetry_otlp::SpanExporter;
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::propagation::TraceContextPropagator;
use opentelemetry_sdk::trace::SdkTracerProvider;

/// Sends spans away, in batches, from a thread of its own.
#[derive(Clone)]
pub struct Traces(Arc<SdkTracerProvider>);

/// A part of a request's time.
pub struct Part {
    /// Its span's name.
    pub name: &'static str,
    /// Its begin.
    pub begin: Instant,
    /// Its end.
    pub end: Instant,
}

/// A request that was answered.
pub struct Request<'a> {
    /// Its headers, from which the caller's context is taken.
    pub headers: &'a dyn Extractor,
    /// Its method.
    pub method: &'a str,
    /// Its route; the path where there is none.
    pub path: &'a str,
    /// Its id.
    pub id: &'a str,
    /// Status of the answer.
    pub status: u16,
    /// Code of the error, if it was one.
    pub error: Option<&'static str>,
    /// Anything else that is known.
    pub attributes: Vec<KeyValue>,
    /// When it arrived.
    pub begin: Instant,
    /// When its answer was complete.
    pub end: Instant,
}

impl Traces {
    /// Starts sending, if `OTEL_EXPORTER_OTLP_ENDPOINT` or `OTEL_EXPORTER_OTLP_TRACES_ENDPOINT` is set and
    /// no other variable switches traces off. The rest of the `OTEL_*` variables mean what they always do.
    ///
    /// # Errors
    /// A variable asks for what this server cannot do; the text says which.
    pub fn from_environment() -> Result<Option<Self>, String> {
        let variable = |name: &str| std::env::var(name).ok().filter(|value| !value.trim().is_empty());
        if !wanted(variable)? {
            return Ok(None);
        }
        // For https endpoints; fails where a process has chosen before, which is as good.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let exporter = SpanExporter::builder()
            .with_http()
            .build()
            .map_err(|error| format!("traces cannot be sent as the OTEL_* variables say: {error}"))?;
        let mut resource =
            Resource::builder().with_attribute(KeyValue::new("service.version", env!("CARGO_PKG_VERSION")));
        if variable("OTEL_SERVICE_NAME").is_none() {
            resource = resource.with_service_name("assay");
        }
        let provider = SdkTracerProvider::builder()
            .with_batch_exporter(exporter)
            .with_resource(resource.build())
            .build();
        Ok(Some(Self(Arc::new(provider))))
    }

    /// Records a request and its parts as spans: the request's below the caller's, if it came with one.
    pub fn record(&self, request: Request<'_>, parts: &[Part]) {
        let tracer = self.0.tracer("assay");
        let caller = caller(request.headers);
        let clock = Clock::now();
        let mut attributes = request.attributes;
        attributes.extend([
            KeyValue::new("http.request.method", request.method.to_owned()),
            KeyValue::new("http.route", request.path.to_owned()),
            KeyValue::new("http.response.status_code", i64::from(request.status)),
            KeyValue::new("assay.request_id", request.id.to_owned()),
        ]);
        if let Some(error) = request.error {
            attributes.push(KeyValue::new("error.type", error));
        }
        let mut span = tracer
            .span_builder(format!("{} {}", request.method, request.path))
            .with_kind(SpanKind::Server)
            .with_start_time(clock.at(request.begin))
            .with_attributes(attributes)
            .start_with_context(&tracer, &caller);
        if request.status >= 500 {
            span.set_status(Status::error(request.error.unwrap_or_default()));
        }
        let within = Context::new().with_remote_span_context(span.span_context().clone());
        for part in parts {
            tracer
                .span_builder(part.name)
                .with_start_time(clock.at(part.begin))
                .start_with_context(&tracer, &within)
                .end_with_timestamp(clock.at(part.end));
        }
        span.end_with_timestamp(clock.at(request.end));
    }

    /// Sends what has not been sent. Blocks for some seconds at most.
    pub fn finish(&self) {
        if let Err(error) = self.0.shutdown() {
            tracing::warn!(%error, "the last traces could not be sent");
        }
    }
}

/// Whether traces are to be sent.
fn wanted(variable: impl Fn(&str) -> Option<String>) -> Result<bool, String> {
    let is = |name: &str, value: &str| variable(name).is_some_and(|text| text.eq_ignore_ascii_case(value));
    let endpoint = ["OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT"];
    let named = endpoint.iter().any(|name| variable(name).is_some());
    if !named || is("OTEL_SDK_DISABLED", "true") || is("OTEL_TRACES_EXPORTER", "none") {
        return Ok(false);
    }
    for name in ["OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL"] {
        match variable(name).as_deref() {
            None | Some("http/protobuf") => {}
            Some(other) => {
                return Err(format!(
                    "{name}=`{other}` is not spoken here: set it to http/protobuf, and the endpoint to the \
                     collector's port for that, usually 4318"
                ));
            }
        }
    }
    Ok(true)
}

/// The context that a request came with, as W3C's `traceparent` and `tracestate` say.
fn caller(headers: &dyn Extractor) -> Context {
    TraceContextPropagator::new().extract_with_context(&Context::new(), headers)
}

/// Id of the trace that a request belongs to, where it came with one.
pub fn trace_id(headers: &dyn Extractor) -> Option<String> {
    headers.get("traceparent")?;
    let context = caller(headers);
    let span: SpanContext = context.span().span_context().clone();
    span.is_valid().then(|| span.trace_id().to_string())
}

/// Puts times of the monotonic clock on the calendar.
struct Clock {
    instant: Instant,
    time: SystemTime,
}

impl Clock {
    fn now() -> Self {
        Self { instant: Instant::now(), time: SystemTime::now() }
    }

    fn at(&self, instant: Instant) -> SystemTime {
        let before = self.instant.saturating_duration_since(instant);
        self.time.checked_sub(before).unwrap_or(self.time)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use super::*;

    fn asked(variables: &[(&str, &str)]) -> Result<bool, String> {
        wanted(|name| variables.iter().find(|(key, _)| *key == name).map(|(_, value)| (*value).to_owned()))
    }

    #[test]
    fn traces_are_sent_only_where_a_place_is_named() {
        let endpoint = ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://collector:4318");
        assert_eq!(asked(&[]), Ok(false));
        assert_eq!(asked(&[endpoint]), Ok(true));
        assert_eq!(asked(&[("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "http://a/v1/traces")]), Ok(true));
        assert_eq!(asked(&[endpoint, ("OTEL_SDK_DISABLED", "true")]), Ok(false));
        assert_eq!(asked(&[endpoint, ("OTEL_TRACES_EXPORTER", "none")]), Ok(false));
        let grpc = asked(&[endpoint, ("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc")]).unwrap_err();
        assert!(grpc.starts_with("OTEL_EXPORTER_OTLP_PROTOCOL=`grpc` is not spoken here"), "{grpc}");
    }

    #[test]
    fn a_callers_trace_is_taken_over_and_nonsense_is_not() {
        let with = |text: &str| trace_id(&HashMap::from([("traceparent".to_owned(), text.to_owned())]));
        let id = "4bf92f3577b34da6a3ce929d0e0e4736";
        assert_eq!(with(&format!("00-{id}-00f067aa0ba902b7-01")).as_deref(), Some(id));
        assert_eq!(with("00-0-0-01"), None);
        assert_eq!(trace_id(&HashMap::new()), None);
    }
}
