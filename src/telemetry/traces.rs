//! Traces over OTLP, if OpenTelemetry's environment variables name a collector.

use std::sync::Arc;
use std::time::{Instant, SystemTime};

use opentelemetry::propagation::{Extractor, TextMapPropagator};
use opentelemetry::trace::{Span, SpanContext, SpanKind, Status, TraceContextExt, Tracer, TracerProvider};
use opentelemetry::{Context, KeyValue};
use opentelemetry_otlp::{ExporterBuildError, SpanExporter};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::propagation::TraceContextPropagator;
use opentelemetry_sdk::trace::SdkTracerProvider;

/// Sends spans to a collector, in batches, from a thread of its own.
#[derive(Clone)]
pub struct Traces(Arc<SdkTracerProvider>);

/// A stage of a request, which becomes a child span.
pub struct StageSpan {
    /// Name of the span.
    pub name: &'static str,
    /// When the stage started.
    pub start: Instant,
    /// When the stage ended.
    pub end: Instant,
}

/// A request that was answered, which becomes a span.
pub struct RequestSpan<'a> {
    /// Headers, which may carry the caller's trace context.
    pub headers: &'a dyn Extractor,
    /// HTTP method.
    pub method: &'a str,
    /// Route, or the path if there is no route.
    pub path: &'a str,
    /// Request id.
    pub id: &'a str,
    /// HTTP status of the response.
    pub status: u16,
    /// Code of the error, if the response is one.
    pub error: Option<&'static str>,
    /// Further attributes of the span.
    pub attributes: Vec<KeyValue>,
    /// When the request arrived.
    pub start: Instant,
    /// When the response was complete.
    pub end: Instant,
}

/// Why traces cannot be sent as the environment says.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "the messages name the fields")]
pub enum TracesError {
    /// A variable asks for another protocol than OTLP over HTTP.
    #[error(
        "{variable}=`{protocol}` is not supported: set it to http/protobuf, and the endpoint to the collector's \
         port for that, usually 4318"
    )]
    Protocol { variable: &'static str, protocol: String },
    /// The exporter does not accept the variables.
    #[error("cannot set up tracing from the OTEL_* variables: {0}")]
    Exporter(#[from] ExporterBuildError),
}

impl Traces {
    /// Starts sending if `OTEL_EXPORTER_OTLP_ENDPOINT` or `OTEL_EXPORTER_OTLP_TRACES_ENDPOINT` is set and
    /// no other variable switches traces off. The other `OTEL_*` variables have their standard meaning.
    ///
    /// # Errors
    /// See [`TracesError`].
    pub fn from_environment() -> Result<Option<Self>, TracesError> {
        let variable = |name: &str| std::env::var(name).ok().filter(|value| !value.trim().is_empty());
        if !is_enabled(variable)? {
            return Ok(None);
        }
        // For https endpoints. Fails only if a provider is installed already, which is fine.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let exporter = SpanExporter::builder().with_http().build()?;
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

    /// Records a request and its stages as spans. The request's span is a child of the caller's, if the
    /// headers name one.
    pub fn record(&self, request: RequestSpan<'_>, stages: &[StageSpan]) {
        let tracer = self.0.tracer("assay");
        let caller = caller_context(request.headers);
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
            .with_start_time(clock.system_time(request.start))
            .with_attributes(attributes)
            .start_with_context(&tracer, &caller);
        if request.status >= 500 {
            span.set_status(Status::error(request.error.unwrap_or_default()));
        }
        let within = Context::new().with_remote_span_context(span.span_context().clone());
        for stage in stages {
            tracer
                .span_builder(stage.name)
                .with_start_time(clock.system_time(stage.start))
                .start_with_context(&tracer, &within)
                .end_with_timestamp(clock.system_time(stage.end));
        }
        span.end_with_timestamp(clock.system_time(request.end));
    }

    /// Sends the remaining spans. Blocks for a few seconds at most.
    pub fn finish(&self) {
        if let Err(error) = self.0.shutdown() {
            tracing::warn!(%error, "could not send the last traces");
        }
    }
}

/// Whether the environment asks for traces.
fn is_enabled(variable: impl Fn(&str) -> Option<String>) -> Result<bool, TracesError> {
    let is = |name: &str, value: &str| variable(name).is_some_and(|text| text.eq_ignore_ascii_case(value));
    let endpoint = ["OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT"];
    let named = endpoint.iter().any(|name| variable(name).is_some());
    if !named || is("OTEL_SDK_DISABLED", "true") || is("OTEL_TRACES_EXPORTER", "none") {
        return Ok(false);
    }
    for name in ["OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL"] {
        if let Some(protocol) = variable(name)
            && protocol != "http/protobuf"
        {
            return Err(TracesError::Protocol { variable: name, protocol });
        }
    }
    Ok(true)
}

/// The caller's trace context, from the W3C headers `traceparent` and `tracestate`.
fn caller_context(headers: &dyn Extractor) -> Context {
    TraceContextPropagator::new().extract_with_context(&Context::new(), headers)
}

/// Id of the trace that a request belongs to, if its headers name one.
pub fn trace_id(headers: &dyn Extractor) -> Option<String> {
    headers.get("traceparent")?;
    let context = caller_context(headers);
    let span: SpanContext = context.span().span_context().clone();
    span.is_valid().then(|| span.trace_id().to_string())
}

/// Converts times of the monotonic clock to calendar time.
struct Clock {
    instant: Instant,
    time: SystemTime,
}

impl Clock {
    fn now() -> Self {
        Self { instant: Instant::now(), time: SystemTime::now() }
    }

    fn system_time(&self, instant: Instant) -> SystemTime {
        let before = self.instant.saturating_duration_since(instant);
        self.time.checked_sub(before).unwrap_or(self.time)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use super::*;

    fn enabled(variables: &[(&str, &str)]) -> Result<bool, TracesError> {
        is_enabled(|name| {
            variables.iter().find(|(key, _)| *key == name).map(|(_, value)| (*value).to_owned())
        })
    }

    #[test]
    fn traces_are_sent_only_to_a_configured_endpoint() {
        let endpoint = ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://collector:4318");
        assert!(!enabled(&[]).unwrap());
        assert!(enabled(&[endpoint]).unwrap());
        assert!(enabled(&[("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "http://a/v1/traces")]).unwrap());
        assert!(!enabled(&[endpoint, ("OTEL_SDK_DISABLED", "true")]).unwrap());
        assert!(!enabled(&[endpoint, ("OTEL_TRACES_EXPORTER", "none")]).unwrap());
        let grpc = enabled(&[endpoint, ("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc")]).unwrap_err().to_string();
        assert!(grpc.starts_with("OTEL_EXPORTER_OTLP_PROTOCOL=`grpc` is not supported"), "{grpc}");
    }

    #[test]
    fn a_valid_trace_id_is_adopted() {
        let with = |text: &str| trace_id(&HashMap::from([("traceparent".to_owned(), text.to_owned())]));
        let id = "4bf92f3577b34da6a3ce929d0e0e4736";
        assert_eq!(with(&format!("00-{id}-00f067aa0ba902b7-01")).as_deref(), Some(id));
        assert_eq!(with("00-0-0-01"), None);
        assert_eq!(trace_id(&HashMap::new()), None);
    }
}
