//! The name and the help text of every metric, and the buckets of the histograms.
//!
//! The metrics of the first part are those of NVIDIA's NIM for LLMs, with its names and with every one of its buckets, so that
//! dashboards made for it keep working. Every series has the label `model_name`.

/// Name and help text of a metric.
pub(super) type MetricName = (&'static str, &'static str);

pub(super) const RUNNING: MetricName = ("num_requests_running", "Requests in flight in the engine.");
pub(super) const WAITING: MetricName = ("num_requests_waiting", "Requests waiting for the engine.");
pub(super) const REQUEST_MAX: MetricName =
    ("num_request_max", "Maximum number of sequences in one iteration of the engine.");
pub(super) const CACHE_USAGE: MetricName =
    ("gpu_cache_usage_perc", "Fraction of the KV cache that requests in flight use, on any device.");
pub(super) const PROMPT_TOKENS: MetricName = ("prompt_tokens_total", "Prompt tokens of answered requests.");
pub(super) const GENERATION_TOKENS: MetricName =
    ("generation_tokens_total", "Tokens generated; a score counts as one.");
/// Label `finished_reason`.
pub(super) const FINISHED: MetricName = ("request_finish_total", "Answered requests by finish reason.");
pub(super) const SUCCESS: MetricName = ("request_success_total", "Requests answered with a result.");
pub(super) const FAILURE: MetricName = ("request_failure_total", "Requests answered with an error.");
pub(super) const FIRST_TOKEN: MetricName =
    ("time_to_first_token_seconds", "Time from arrival until the scores or the first token are known.");
pub(super) const PER_TOKEN: MetricName =
    ("time_per_output_token_seconds", "Time from one generated token of a request to the next.");
pub(super) const LATENCY: MetricName =
    ("e2e_request_latency_seconds", "Time from arrival until the response is ready.");
pub(super) const REQUEST_PROMPT_TOKENS: MetricName =
    ("request_prompt_tokens", "Prompt tokens of one request.");
pub(super) const REQUEST_GENERATION_TOKENS: MetricName =
    ("request_generation_tokens", "Tokens generated for one request; 1 for a score.");

/// Label `device_id`, as for the next five.
pub(super) const GPU_UTILIZATION: MetricName =
    ("gpu_utilization", "Fraction of the time in which the GPU was busy.");
pub(super) const GPU_POWER: MetricName = ("gpu_power_usage_watts", "Power that the GPU draws.");
pub(super) const GPU_POWER_LIMIT: MetricName = ("gpu_power_limit_watts", "Power that the GPU may draw.");
pub(super) const GPU_ENERGY: MetricName =
    ("gpu_total_energy_consumption_joules", "Energy that the GPU has used since its driver was loaded.");
pub(super) const GPU_MEMORY: MetricName = ("gpu_memory_total_bytes", "Memory of the GPU.");
pub(super) const GPU_MEMORY_USED: MetricName =
    ("gpu_memory_used_bytes", "Memory of the GPU in use by any process.");

/// Label `attribute`.
pub(super) const SCORE: MetricName = ("reward_score", "Scores returned, by attribute.");
pub(super) const NON_FINITE: MetricName = (
    "reward_non_finite_scores_total",
    "Requests answered with an error because a score was NaN or infinite.",
);
/// Label `strategy`.
pub(super) const TRUNCATIONS: MetricName =
    ("request_truncations_total", "Prompts truncated because they were too long, by strategy.");
/// Label `reason`.
pub(super) const ERRORS: MetricName =
    ("request_errors_total", "Requests answered with an error, by its code.");
pub(super) const CANCELLED: MetricName =
    ("request_cancelled_total", "Requests whose client disconnected before the response.");
pub(super) const DEDUPLICATED: MetricName =
    ("request_deduplicated_total", "Requests answered by the computation of an identical one.");
pub(super) const PREEMPTED: MetricName =
    ("sequence_preempted_total", "Times a generating sequence gave up its KV blocks, to continue later.");
pub(super) const QUEUE_TIME: MetricName =
    ("request_queue_time_seconds", "Time from arrival until the first iteration.");
pub(super) const INFERENCE_TIME: MetricName =
    ("request_inference_time_seconds", "Time from the first iteration until the output.");
pub(super) const WAITING_TOKENS: MetricName = ("num_tokens_waiting", "Tokens of the waiting requests.");
pub(super) const ITERATIONS: MetricName = ("iterations_total", "Iterations the engine has run.");
pub(super) const ITERATION_SECONDS: MetricName =
    ("iteration_seconds_total", "Time the engine has spent in iterations.");
pub(super) const ITERATION_TOKENS: MetricName = ("iteration_tokens", "Tokens computed in one iteration.");
pub(super) const ITERATION_SEQUENCES: MetricName = ("iteration_sequences", "Sequences in one iteration.");
pub(super) const ITERATION_FILL: MetricName =
    ("iteration_fill_ratio", "Tokens of one iteration as a fraction of its maximum.");
pub(super) const PREFIX_TOKENS: MetricName = (
    "prefix_cache_hit_tokens_total",
    "Prompt tokens not computed because their prefix was shared or cached.",
);
/// Label `state`: `used`, `cached` or `free`.
pub(super) const KV_BLOCKS: MetricName =
    ("kv_cache_blocks", "Blocks of the KV cache: in use, kept for their prefix, or free.");
pub(super) const CONNECTIONS: MetricName = ("http_connections", "Open connections.");
/// Label `reason`: `too_many`, `handshake`, `slow_head` or `slow_reader`.
pub(super) const CONNECTIONS_CUT: MetricName =
    ("http_connections_cut_total", "Connections that the server refused or closed, by reason.");
pub(super) const ENGINE_FAILURES: MetricName =
    ("engine_failures_total", "Times the engine failed or stalled.");
pub(super) const ENGINE_RESTARTS: MetricName =
    ("engine_restarts_total", "Times the engine was loaded again after a failure.");
pub(super) const ENGINE_CHANGES: MetricName = (
    "engine_directory_changes_total",
    "Times the engine directory no longer held the engine that is served.",
);
pub(super) const CERTIFICATE_EXPIRY: MetricName = (
    "tls_certificate_expiry_seconds",
    "When the certificate of the server expires, in seconds since 1970; absent without TLS.",
);
/// Gauge, always 1; labels `version`, `profile`.
pub(super) const BUILD_INFO: MetricName =
    ("assay_build_info", "Version of the server and profile of its engine.");

/// Buckets of [`FIRST_TOKEN`], [`QUEUE_TIME`] and [`INFERENCE_TIME`], in seconds.
pub(super) const TIME_BUCKETS: [f64; 16] =
    [0.001, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0];
/// Buckets of [`PER_TOKEN`], in seconds.
pub(super) const PER_TOKEN_BUCKETS: [f64; 13] =
    [0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.75, 1.0, 2.5];
/// Buckets of [`LATENCY`], in seconds: NIM's begin at 1 s, which scores rarely take, so there are finer ones below.
pub(super) const LATENCY_BUCKETS: [f64; 19] = [
    0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 15.0, 20.0, 30.0, 40.0,
    50.0, 60.0,
];
/// Buckets of everything that is counted in tokens.
pub(super) const TOKEN_BUCKETS: [f64; 16] = [
    1.0, 2.0, 5.0, 10.0, 20.0, 50.0, 100.0, 200.0, 500.0, 1_000.0, 2_000.0, 5_000.0, 10_000.0, 20_000.0,
    50_000.0, 100_000.0,
];
/// Buckets of [`ITERATION_SEQUENCES`].
pub(super) const SEQUENCE_BUCKETS: [f64; 11] =
    [1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0, 512.0, 1024.0];
/// Buckets of [`ITERATION_FILL`].
pub(super) const FILL_BUCKETS: [f64; 10] = [0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0];
/// Buckets of [`SCORE`] unless an option sets others: raw scores of most heads are around 0, those of others up to a few tens.
pub(super) const SCORE_BUCKETS: [f64; 17] =
    [-40.0, -20.0, -10.0, -5.0, -3.0, -2.0, -1.0, -0.5, 0.0, 0.5, 1.0, 2.0, 3.0, 5.0, 10.0, 20.0, 40.0];
