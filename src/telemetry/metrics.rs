//! The metrics of a process.

use std::collections::HashMap;
use std::time::Duration;

use prometheus::process_collector::ProcessCollector;
use prometheus::{
    Counter, Encoder, Gauge, Histogram, HistogramVec, IntCounter, IntCounterVec, IntGauge, IntGaugeVec,
    Registry, TextEncoder,
};

use super::gpus::GpuGauges;
use super::names;
use super::registrar::Registrar;
use crate::engine::Limits;
use crate::prompt::Truncated;
use crate::scheduler::Observer;

/// Every metric. An update is a few atomic additions.
pub struct Metrics {
    registry: Registry,
    running: IntGauge,
    waiting: IntGauge,
    waiting_tokens: IntGauge,
    request_max: IntGauge,
    cache_usage: Gauge,
    kv_used: IntGauge,
    kv_cached: IntGauge,
    kv_free: IntGauge,
    prompt_tokens: IntCounter,
    generation_tokens: IntCounter,
    finished: IntCounterVec,
    success: IntCounter,
    failure: IntCounter,
    errors: IntCounterVec,
    non_finite: IntCounter,
    truncations: IntCounterVec,
    cancelled: IntCounter,
    deduplicated: IntCounter,
    preempted: IntCounter,
    first_token: Histogram,
    per_token: Histogram,
    latency: Histogram,
    queue_time: Histogram,
    inference_time: Histogram,
    request_prompt_tokens: Histogram,
    request_generation_tokens: Histogram,
    scores: HistogramVec,
    iterations: IntCounter,
    iteration_seconds: Counter,
    iteration_tokens: Histogram,
    iteration_sequences: Histogram,
    iteration_fill: Histogram,
    prefix_tokens: IntCounter,
    connections: IntGauge,
    connections_cut: IntCounterVec,
    engine_failures: IntCounter,
    engine_restarts: IntCounter,
    engine_changes: IntCounter,
    /// Without a series until there is a certificate.
    certificate_expiry: IntGaugeVec,
    gpus: Option<GpuGauges>,
    max_num_tokens: std::sync::atomic::AtomicUsize,
}

/// A request that was answered with scores.
#[derive(Clone, Copy, Debug)]
pub struct Answered<'a> {
    /// Attributes and their scores.
    pub scores: &'a [(String, f32)],
    /// Number of prompt tokens.
    pub prompt_tokens: usize,
    /// What was cut off the prompt, if anything.
    pub truncated: Option<Truncated>,
    /// Time from arrival until the first iteration.
    pub queue_time: Duration,
    /// Time from the first iteration until the output.
    pub inference_time: Duration,
    /// Time from arrival until the response was ready.
    pub elapsed: Duration,
}

/// Why the server ended a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ConnectionEnd {
    /// The limit of connections was reached.
    TooMany,
    /// The TLS handshake failed, or took too long.
    Handshake,
    /// The headers of a request did not arrive in time.
    SlowHead,
    /// The client did not read the response.
    SlowReader,
}

impl ConnectionEnd {
    /// Every reason.
    pub const ALL: [Self; 4] = [Self::TooMany, Self::Handshake, Self::SlowHead, Self::SlowReader];

    /// Value of the metric's label `reason`.
    pub fn label(self) -> &'static str {
        match self {
            Self::TooMany => "too_many",
            Self::Handshake => "handshake",
            Self::SlowHead => "slow_head",
            Self::SlowReader => "slow_reader",
        }
    }
}

impl Metrics {
    /// The metrics of a server of `model_name`, with an engine of `profile`.
    ///
    /// # Errors
    /// Two metrics have the same name, which is a bug.
    pub fn new(model_name: &str, profile: &str) -> Result<Self, prometheus::Error> {
        Self::with_score_buckets(model_name, profile, &[])
    }

    /// As [`Metrics::new`], with these upper bounds in the histogram of scores, or the default if there are none.
    ///
    /// # Errors
    /// The bounds do not increase, or two metrics have the same name, which is a bug.
    pub fn with_score_buckets(
        model_name: &str,
        profile: &str,
        score_buckets: &[f64],
    ) -> Result<Self, prometheus::Error> {
        let score_buckets = if score_buckets.is_empty() { &names::SCORE_BUCKETS } else { score_buckets };
        let labels = HashMap::from([("model_name".to_owned(), model_name.to_owned())]);
        let registry = Registry::new_custom(None, Some(labels))?;
        registry.register(Box::new(ProcessCollector::for_self()))?;
        let make = Registrar { registry: &registry };
        let info = make.gauges(names::BUILD_INFO, &["version", "profile"])?;
        info.with_label_values(&[env!("CARGO_PKG_VERSION"), profile]).set(1);
        let connections_cut = make.counters(names::CONNECTIONS_CUT, &["reason"])?;
        for end in ConnectionEnd::ALL {
            // An alert sees a counter increase only if it has seen an earlier value.
            connections_cut.with_label_values(&[end.label()]);
        }
        let kv_blocks = make.gauges(names::KV_BLOCKS, &["state"])?;
        Ok(Self {
            running: make.gauge(names::RUNNING)?,
            waiting: make.gauge(names::WAITING)?,
            waiting_tokens: make.gauge(names::WAITING_TOKENS)?,
            request_max: make.gauge(names::REQUEST_MAX)?,
            cache_usage: make.fraction(names::CACHE_USAGE)?,
            kv_used: kv_blocks.with_label_values(&["used"]),
            kv_cached: kv_blocks.with_label_values(&["cached"]),
            kv_free: kv_blocks.with_label_values(&["free"]),
            prompt_tokens: make.counter(names::PROMPT_TOKENS)?,
            generation_tokens: make.counter(names::GENERATION_TOKENS)?,
            finished: make.counters(names::FINISHED, &["finished_reason"])?,
            success: make.counter(names::SUCCESS)?,
            failure: make.counter(names::FAILURE)?,
            errors: make.counters(names::ERRORS, &["reason"])?,
            non_finite: make.counter(names::NON_FINITE)?,
            truncations: make.counters(names::TRUNCATIONS, &["strategy"])?,
            cancelled: make.counter(names::CANCELLED)?,
            deduplicated: make.counter(names::DEDUPLICATED)?,
            preempted: make.counter(names::PREEMPTED)?,
            first_token: make.histogram(names::FIRST_TOKEN, &names::TIME_BUCKETS)?,
            per_token: make.histogram(names::PER_TOKEN, &names::PER_TOKEN_BUCKETS)?,
            latency: make.histogram(names::LATENCY, &names::LATENCY_BUCKETS)?,
            queue_time: make.histogram(names::QUEUE_TIME, &names::TIME_BUCKETS)?,
            inference_time: make.histogram(names::INFERENCE_TIME, &names::TIME_BUCKETS)?,
            request_prompt_tokens: make.histogram(names::REQUEST_PROMPT_TOKENS, &names::TOKEN_BUCKETS)?,
            request_generation_tokens: make
                .histogram(names::REQUEST_GENERATION_TOKENS, &names::TOKEN_BUCKETS)?,
            scores: make.histograms(names::SCORE, score_buckets, &["attribute"])?,
            iterations: make.counter(names::ITERATIONS)?,
            iteration_seconds: make.seconds(names::ITERATION_SECONDS)?,
            iteration_tokens: make.histogram(names::ITERATION_TOKENS, &names::TOKEN_BUCKETS)?,
            iteration_sequences: make.histogram(names::ITERATION_SEQUENCES, &names::SEQUENCE_BUCKETS)?,
            iteration_fill: make.histogram(names::ITERATION_FILL, &names::FILL_BUCKETS)?,
            prefix_tokens: make.counter(names::PREFIX_TOKENS)?,
            connections: make.gauge(names::CONNECTIONS)?,
            connections_cut,
            engine_failures: make.counter(names::ENGINE_FAILURES)?,
            engine_restarts: make.counter(names::ENGINE_RESTARTS)?,
            engine_changes: make.counter(names::ENGINE_CHANGES)?,
            certificate_expiry: make.gauges(names::CERTIFICATE_EXPIRY, &[])?,
            gpus: GpuGauges::detect(&make)?,
            max_num_tokens: 0.into(),
            registry,
        })
    }

    /// Sets the limits of the engine, once it is loaded.
    pub fn set_limits(&self, limits: &Limits) {
        self.request_max.set(gauge(limits.max_batch_size));
        self.kv_free.set(gauge(limits.kv_blocks));
        self.max_num_tokens.store(limits.max_num_tokens, std::sync::atomic::Ordering::Relaxed);
    }

    /// Counts a request that was answered with scores.
    pub fn answered(&self, request: Answered<'_>) {
        self.success.inc();
        self.finished.with_label_values(&["length"]).inc();
        self.prompt_tokens.inc_by(request.prompt_tokens as u64);
        self.generation_tokens.inc();
        self.request_prompt_tokens.observe(request.prompt_tokens as f64);
        self.request_generation_tokens.observe(1.0);
        self.queue_time.observe(request.queue_time.as_secs_f64());
        self.inference_time.observe(request.inference_time.as_secs_f64());
        self.first_token.observe(request.elapsed.as_secs_f64());
        self.latency.observe(request.elapsed.as_secs_f64());
        if let Some(truncated) = request.truncated {
            self.truncations.with_label_values(&[truncated.strategy.name()]).inc();
        }
        for (attribute, score) in request.scores {
            self.scores.with_label_values(&[attribute]).observe(f64::from(*score));
        }
    }

    /// Counts a request that was answered with `tokens` generated tokens after `elapsed`. `reasons` has the
    /// finish reason of each of its responses.
    pub fn generated<'a>(
        &self,
        prompt_tokens: usize,
        tokens: usize,
        reasons: impl Iterator<Item = &'a str>,
        elapsed: Duration,
    ) {
        self.success.inc();
        for reason in reasons {
            self.finished.with_label_values(&[reason]).inc();
        }
        self.prompt_tokens.inc_by(prompt_tokens as u64);
        self.generation_tokens.inc_by(tokens as u64);
        self.request_prompt_tokens.observe(prompt_tokens as f64);
        self.request_generation_tokens.observe(tokens as f64);
        self.latency.observe(elapsed.as_secs_f64());
    }

    /// The engine directory no longer holds the engine that is served.
    pub(crate) fn engine_changed(&self) {
        self.engine_changes.inc();
    }

    /// Counts a request that was answered with an error of the code `reason`.
    pub fn failed(&self, reason: &str) {
        self.failure.inc();
        self.errors.with_label_values(&[reason]).inc();
    }

    /// Sets when the certificate of the server expires, after 1970, if that is known.
    pub fn certificate_expires(&self, at: Option<Duration>) {
        if let Some(at) = at {
            let seconds = i64::try_from(at.as_secs()).unwrap_or(i64::MAX);
            self.certificate_expiry.with_label_values::<&str>(&[]).set(seconds);
        }
    }

    /// Counts a connection that was opened.
    pub fn connection_opened(&self) {
        self.connections.inc();
    }

    /// Counts a connection that was closed.
    pub fn connection_closed(&self) {
        self.connections.dec();
    }

    /// Counts a connection that the server refused or closed.
    pub fn connection_cut(&self, why: ConnectionEnd) {
        self.connections_cut.with_label_values(&[why.label()]).inc();
    }

    /// Counts a score that was NaN or infinite.
    pub fn non_finite(&self) {
        self.non_finite.inc();
    }

    /// Number of sequences that are running or waiting.
    pub fn load(&self) -> i64 {
        self.running.get() + self.waiting.get()
    }

    /// All metrics in Prometheus' text format. Blocks while the driver of a GPU answers.
    ///
    /// # Errors
    /// A metric cannot be encoded, which is a bug.
    pub fn render(&self) -> Result<String, prometheus::Error> {
        if let Some(gpus) = &self.gpus {
            gpus.refresh();
        }
        let mut text = Vec::new();
        TextEncoder::new().encode(&self.registry.gather(), &mut text)?;
        String::from_utf8(text).map_err(|error| prometheus::Error::Msg(error.to_string()))
    }
}

impl Observer for Metrics {
    fn queue(&self, requests: usize, tokens: usize) {
        self.waiting.set(gauge(requests));
        self.waiting_tokens.set(gauge(tokens));
    }

    fn in_flight(&self, sequences: usize) {
        self.running.set(gauge(sequences));
    }

    fn kv_blocks(&self, used: usize, cached: usize, free: usize) {
        self.kv_used.set(gauge(used));
        self.kv_cached.set(gauge(cached));
        self.kv_free.set(gauge(free));
        self.cache_usage.set(used as f64 / (used + cached + free).max(1) as f64);
    }

    fn iteration(&self, tokens: usize, sequences: usize, elapsed: Duration) {
        self.iterations.inc();
        self.iteration_seconds.inc_by(elapsed.as_secs_f64());
        self.iteration_tokens.observe(tokens as f64);
        self.iteration_sequences.observe(sequences as f64);
        let max = self.max_num_tokens.load(std::sync::atomic::Ordering::Relaxed);
        self.iteration_fill.observe(tokens as f64 / max.max(1) as f64);
    }

    fn prefix_reused(&self, tokens: usize) {
        self.prefix_tokens.inc_by(tokens as u64);
    }

    fn first_token(&self, time: Duration) {
        self.first_token.observe(time.as_secs_f64());
    }

    fn next_token(&self, time: Duration) {
        self.per_token.observe(time.as_secs_f64());
    }

    fn deduplicated(&self) {
        self.deduplicated.inc();
    }

    fn preempted(&self) {
        self.preempted.inc();
    }

    fn cancelled(&self) {
        self.cancelled.inc();
    }

    fn engine_failed(&self) {
        self.engine_failures.inc();
    }

    fn engine_restarted(&self) {
        self.engine_restarts.inc();
    }
}

fn gauge(count: usize) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}
