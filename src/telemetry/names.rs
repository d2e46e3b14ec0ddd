//! Every metric name, what it means, and the buckets of the histograms.
//!
//! The first part is what NVIDIA's NIM for LLMs exposes, under its names and with its buckets, so
//! that dashboards made for it go on working. Every series bears the label `model_name`.

/// Name and help text.
pub type Name = (&'static str, &'static str);

/// Gauge.
pub const RUNNING: Name = ("num_requests_running", "Requests in flight in the engine.");
/// Gauge.
pub const WAITING: Name = ("num_requests_waiting", "Requests that wait for the engine.");
/// Gauge.
pub const REQUEST_MAX: Name = ("num_request_max", "Most sequences the engine runs in one iteration.");
/// Gauge.
pub const CACHE_USAGE: Name = (
    "gpu_cache_usage_perc",
    "Fraction of the KV cache in use by requests in flight, on whatever device it lies.",
);
/// Counter.
pub const PROMPT_TOKENS: Name = ("prompt_tokens_total", "Prompt tokens of answered requests.");
/// Counter.
pub const GENERATION_TOKENS: Name =
    ("generation_tokens_total", "Tokens generated; an answer of scores counts as one.");
/// Counter, label `finished_reason`.
pub const FINISHED: Name = ("request_finish_total", "Answered requests by finish reason.");
/// Counter.
pub const SUCCESS: Name = ("request_success_total", "Requests answered with a result.");
/// Counter.
pub const FAILURE: Name = ("request_failure_total", "Requests answered with an error.");
/// Histogram.
pub const FIRST_TOKEN: Name =
    ("time_to_first_token_seconds", "Time from arrival until the scores or the first token were known.");
/// Histogram.
pub const PER_TOKEN: Name =
    ("time_per_output_token_seconds", "Time from one generated token of a request to the next.");
/// Histogram.
pub const LATENCY: Name = ("e2e_request_latency_seconds", "Time from arrival until the answer was ready.");
/// Histogram.
pub const REQUEST_PROMPT_TOKENS: Name = ("request_prompt_tokens", "Prompt tokens of one request.");
/// Histogram.
pub const REQUEST_GENERATION_TOKENS: Name =
    ("request_generation_tokens", "Tokens generated for one request; 1 for scores.");

/// Gauge, label `device_id`, as are the next five.
pub const GPU_UTILIZATION: Name = ("gpu_utilization", "Fraction of the time that the GPU was busy.");
/// Gauge.
pub const GPU_POWER: Name = ("gpu_power_usage_watts", "Power that the GPU draws.");
/// Gauge.
pub const GPU_POWER_LIMIT: Name = ("gpu_power_limit_watts", "Power that the GPU may draw.");
/// Gauge.
pub const GPU_ENERGY: Name =
    ("gpu_total_energy_consumption_joules", "Energy that the GPU has used since its driver was loaded.");
/// Gauge.
pub const GPU_MEMORY: Name = ("gpu_memory_total_bytes", "Memory of the GPU.");
/// Gauge.
pub const GPU_MEMORY_USED: Name = ("gpu_memory_used_bytes", "Memory of the GPU in use, by anyone.");

/// Histogram, label `attribute`.
pub const SCORE: Name = ("reward_score", "Scores given, by attribute.");
/// Counter.
pub const NON_FINITE: Name = (
    "reward_non_finite_scores_total",
    "Requests answered with an error because the head gave NaN or infinity.",
);
/// Counter, label `strategy`.
pub const TRUNCATIONS: Name =
    ("request_truncations_total", "Prompts that were cut because they were too long, by how.");
/// Counter, label `reason`.
pub const ERRORS: Name = ("request_errors_total", "Requests answered with an error, by its code.");
/// Counter.
pub const CANCELLED: Name = ("request_cancelled_total", "Requests whose client left before the answer.");
/// Counter.
pub const DEDUPLICATED: Name =
    ("request_deduplicated_total", "Requests answered by the computation of an identical one.");
/// Counter.
pub const PREEMPTED: Name = (
    "sequence_preempted_total",
    "Times a sequence that generates gave up its KV blocks to one before it, to go on later.",
);
/// Histogram.
pub const QUEUE_TIME: Name = ("request_queue_time_seconds", "Time from arrival until the first iteration.");
/// Histogram.
pub const INFERENCE_TIME: Name =
    ("request_inference_time_seconds", "Time from the first iteration until the output.");
/// Gauge.
pub const WAITING_TOKENS: Name = ("num_tokens_waiting", "Tokens of the requests that wait.");
/// Counter.
pub const ITERATIONS: Name = ("iterations_total", "Iterations the engine has run.");
/// Counter.
pub const ITERATION_SECONDS: Name = ("iteration_seconds_total", "Time the engine has spent in iterations.");
/// Histogram.
pub const ITERATION_TOKENS: Name = ("iteration_tokens", "Tokens computed in one iteration.");
/// Histogram.
pub const ITERATION_SEQUENCES: Name = ("iteration_sequences", "Sequences in one iteration.");
/// Histogram.
pub const ITERATION_FILL: Name =
    ("iteration_fill_ratio", "Tokens of one iteration as a fraction of the most it could hold.");
/// Counter.
pub const PREFIX_TOKENS: Name = (
    "prefix_cache_hit_tokens_total",
    "Prompt tokens not computed because their prefix was shared or cached.",
);
/// Gauge, label `state`: `used`, `cached` or `free`.
pub const KV_BLOCKS: Name =
    ("kv_cache_blocks", "Blocks of the KV cache: in use, kept for their prefix, free.");
/// Gauge.
pub const CONNECTIONS: Name = ("http_connections", "Connections that are open.");
/// Counter, label `reason`: `too_many`, `handshake`, `slow_head` or `slow_reader`.
pub const CONNECTIONS_CUT: Name =
    ("http_connections_cut_total", "Connections refused or cut off by the server, by why.");
/// Counter.
pub const ENGINE_FAILURES: Name = ("engine_failures_total", "Times the engine failed or stalled.");
/// Counter.
pub const ENGINE_RESTARTS: Name =
    ("engine_restarts_total", "Times the engine was loaded again after a failure.");
/// Gauge, always 1; labels `version`, `profile`.
pub const BUILD_INFO: Name = ("assay_build_info", "Version of the server and profile of its engine.");

/// Of [`FIRST_TOKEN`], [`QUEUE_TIME`] and [`INFERENCE_TIME`], in seconds.
pub const TIME_BUCKETS: [f64; 16] =
    [0.001, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0];
/// Of [`PER_TOKEN`], in seconds.
pub const PER_TOKEN_BUCKETS: [f64; 13] =
    [0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.75, 1.0, 2.5];
/// Of [`LATENCY`], in seconds.
pub const LATENCY_BUCKETS: [f64; 10] = [1.0, 2.5, 5.0, 10.0, 15.0, 20.0, 30.0, 40.0, 50.0, 60.0];
/// Of everything counted in tokens.
pub const TOKEN_BUCKETS: [f64; 16] = [
    1.0, 2.0, 5.0, 10.0, 20.0, 50.0, 100.0, 200.0, 500.0, 1_000.0, 2_000.0, 5_000.0, 10_000.0, 20_000.0,
    50_000.0, 100_000.0,
];
/// Of [`ITERATION_SEQUENCES`].
pub const SEQUENCE_BUCKETS: [f64; 11] = [1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0, 512.0, 1024.0];
/// Of [`ITERATION_FILL`].
pub const FILL_BUCKETS: [f64; 10] = [0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0];
/// Of [`SCORE`]: raw scores lie about 0 for most heads, up to some tens for others.
pub const SCORE_BUCKETS: [f64; 17] =
    [-40.0, -20.0, -10.0, -5.0, -3.0, -2.0, -1.0, -0.5, 0.0, 0.5, 1.0, 2.0, 3.0, 5.0, 10.0, 20.0, 40.0];
