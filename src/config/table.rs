//! The table of options: one row for each.
//!
//! A row gives the name, the type, the default and the help (the first paragraph is shown by `-h`, all of it by
//! `--help`). It may add, by key: what stands for the value in help, what help says about a default that is
//! chosen later, how the value is read, old names, and the variables of NIM that stand for the option. The command
//! line, the variable `ASSAY_*`, the key in YAML, the settings and `--print-config` follow from it.

use std::path::PathBuf;

use super::Alias;
use super::nim;
use super::row::{Described, Row, Setting, options};
use super::score_values::{Clamp, LogitsRange, Named};
use super::values::{
    InvalidValue, LogFormat, OnFailure, OverloadStatus, Seconds, Simulation, fraction, name, positive,
};
use crate::hardware::profiles;
use crate::manifest::score_options::{Normal, ScoreActivation};
use crate::prompt::Truncation;
use crate::scheduler::Options as SchedulerOptions;

options! {
    /// The HTTP server: where it listens, and what it accepts.
    "Server" server: ServerSettings {
        /// Address to listen on
        host: String = "0.0.0.0".to_owned(), value_name: "ADDRESS";

        /// Port to listen on; 0 chooses a free one
        port: u16 = 8000, value_name: "PORT", nim: &[("NIM_SERVER_PORT", nim::same)];

        /// Serve the metrics on a port of their own
        ///
        /// That port has no TLS and asks for no API key; the main port then serves no metrics.
        metrics_port: Option<u16> = None, value_name: "PORT", unset: "the main port";

        /// Serve the admin routes on this port of 127.0.0.1
        admin_port: Option<u16> = None, value_name: "PORT", unset: "no admin routes";

        /// Names of the model, separated by spaces or commas
        ///
        /// Responses carry the first.
        served_model_name: Vec<String> = Vec::new(),
            value_name: "NAME", unset: "the engine's", parse: name, nim: &[("NIM_SERVED_MODEL_NAME", nim::same)];

        /// More names for the model, or for some of its attributes
        ///
        /// NAME is the whole model, NAME=ATTRIBUTE,ATTRIBUTE a model with these attributes only. Repeat the option, or
        /// separate aliases by spaces.
        alias: Vec<Alias> = Vec::new(), value_name: "NAME[=ATTRIBUTE,...]";

        /// Serve a web page for trying the model, at `/`
        playground: bool = true, value_name: "true|false";

        /// Maximum size of a request body
        max_body_bytes: usize = 16 << 20, value_name: "BYTES", parse: positive;

        /// Maximum number of conversations in a request
        max_request_items: usize = 1024, value_name: "COUNT", parse: positive;

        /// Reject conversations that do not end with an assistant turn
        require_assistant_turn: bool = false, value_name: "true|false";

        /// How to shorten a prompt that is too long
        ///
        /// A request can choose for itself.
        truncation: Truncation = Truncation::Error, value_name: "HOW";

        /// Deadline of a request that sets none
        timeout: Option<Seconds> = None, value_name: "SECONDS", unset: "no deadline";

        /// Status of the response when the queue is full: 429 or 503
        ///
        /// Use 503 for clients that give up on any 4xx.
        overload_status: OverloadStatus = OverloadStatus::TooManyRequests, value_name: "STATUS";

        /// Maximum number of open connections; more get a 503
        max_connections: usize = 4096, value_name: "COUNT", parse: positive;

        /// Maximum size of a request's line and headers
        max_header_bytes: usize = 32 << 10, value_name: "BYTES", parse: positive;

        /// Timeout for receiving a request's headers
        header_timeout: Seconds = Seconds::new(10), value_name: "SECONDS";

        /// Timeout for receiving a request's body
        body_timeout: Seconds = Seconds::new(60), value_name: "SECONDS";

        /// Timeout for a client that stops reading its response
        write_timeout: Seconds = Seconds::new(60), value_name: "SECONDS";

        /// How long to keep an idle connection open
        keep_alive: Seconds = Seconds::new(75), value_name: "SECONDS";

        /// Time that requests have to finish after SIGTERM
        shutdown_grace: Seconds = Seconds::new(30), value_name: "SECONDS";
    }

    /// The engine: which one is loaded, its limits, and what happens when it fails.
    "Engine" engine: EngineSettings {
        /// Engine directory, or a folder of several
        ///
        /// `build-engine --output` wrote it. `--profile` chooses from several. `--engines` is the same option.
        directory("engine"): PathBuf = PathBuf::new(),
            value_name: "DIR", aliases: &["engines"],
            nim: &[("NIM_MODEL_NAME", nim::directory), ("NIM_CACHE_PATH", nim::same)];

        /// Engine to choose from several: an id or a name
        ///
        /// `assay profiles` lists them. `auto` chooses the best that runs on this machine.
        profile: String = profiles::AUTO.to_owned(), value_name: "ID|NAME", nim: &[("NIM_MODEL_PROFILE", nim::same)];

        /// Maximum length of a sequence; lowers the engine's limit
        max_seq_len: Option<usize> = None,
            value_name: "TOKENS", unset: "the engine's", parse: positive, nim: &[("NIM_MAX_MODEL_LEN", nim::same)];

        /// Maximum sequences in a batch; lowers the engine's limit
        max_batch_size: Option<usize> = None, value_name: "COUNT", unset: "the engine's", parse: positive;

        /// Maximum tokens in a batch; lowers the engine's limit
        max_num_tokens: Option<usize> = None, value_name: "TOKENS", unset: "the engine's", parse: positive;

        /// Size of the KV cache
        kv_cache_tokens: Option<usize> = None,
            value_name: "TOKENS", unset: "chosen by the engine", parse: positive;

        /// Threads of the CPU engine
        threads: Option<usize> = None, value_name: "COUNT", unset: "one per core", parse: positive;

        /// Use the model's own sampling defaults
        ///
        /// They come from the checkpoint's generation_config.json and apply where a request sets nothing.
        generation_config: bool = true, value_name: "true|false";

        /// What to do when the engine fails
        on_engine_failure: OnFailure = OnFailure::Restart, value_name: "ACTION";

        /// How often to restart a failing engine before exiting
        ///
        /// The count starts again when the engine has finished a request.
        restart_attempts: u32 = scheduler().restart_attempts, value_name: "COUNT";

        /// Wait before the second restart, doubled each time
        restart_wait: Seconds = Seconds(scheduler().restart_wait), value_name: "SECONDS";

        /// Time without progress after which the engine has failed
        stall_timeout: Seconds = Seconds(scheduler().stall_timeout), value_name: "SECONDS";

        /// Simulate the engine, to test the server; scores mean nothing
        simulate: Option<Simulation> = None, value_name: "HOW", unset: "off";
    }

    /// The queue, and how batches are made from it.
    "Scheduling" scheduling: SchedulingSettings {
        /// Maximum number of queued requests
        max_queue_requests: usize = scheduler().max_queue_requests, value_name: "COUNT", parse: positive;

        /// Maximum number of queued tokens
        max_queue_tokens: usize = scheduler().max_queue_tokens, value_name: "TOKENS", parse: positive;

        /// Maximum tokens of one prompt in a batch while others wait
        ///
        /// A longer prompt is computed in several batches. Lower values delay short requests less.
        max_chunk_tokens: Option<usize> = None, value_name: "TOKENS", unset: "half a batch", parse: positive;

        /// Wait that raises a request by one priority
        ageing: Seconds = Seconds(scheduler().ageing), value_name: "SECONDS";

        /// Compute a prefix that several sequences share only once
        prefix_sharing: bool = scheduler().prefix_sharing,
            value_name: "true|false", nim: &[("NIM_ENABLE_KV_CACHE_REUSE", nim::flag)];

        /// How long a request may wait for another to compute its prefix
        max_prefix_wait: Seconds = Seconds(scheduler().follower_hold),
            value_name: "SECONDS", aliases: &["follower_hold"];

        /// Number of conversations whose scores are cached
        score_cache: usize = scheduler().score_cache, value_name: "COUNT";
    }

    /// How logits become the scores that are served.
    "Scoring" scoring: ScoringSettings {
        /// Logits that are scores, from FIRST to before END
        ///
        /// `0,1` is the first logit of the model's head.
        reward_logits_range: Option<LogitsRange> = None,
            value_name: "FIRST,END", unset: "the engine's", nim: &[("NIM_REWARD_LOGITS_RANGE", nim::same)];

        /// Names of the scores, one for each
        reward_model_string: Vec<String> = Vec::new(),
            value_name: "NAME", unset: "the engine's", nim: &[("NIM_REWARD_MODEL_STRING", nim::same)];

        /// Turn scores into probabilities
        score_activation: Option<ScoreActivation> = None, value_name: "ACTIVATION", unset: "none";

        /// Shift and scale scores to (score - MEAN) / STD
        score_normalize: Vec<Named<Normal>> = Vec::new(), value_name: "NAME=MEAN:STD";

        /// Lowest and highest score; others become the nearer one
        score_clamp: Option<Clamp> = None, value_name: "LOWEST,HIGHEST", unset: "none", hyphens: true;

        /// Add a score: the weighted sum of these attributes
        score_weights: Vec<Named<f64>> = Vec::new(), value_name: "NAME=WEIGHT";

        /// Name of the weighted sum
        score_weighted_name: Option<String> = None, value_name: "NAME", unset: "weighted";
    }

    /// TLS, API keys, and who may call.
    "Security" security: SecuritySettings {
        /// Private key of the server, in PEM; needs --tls-cert
        ///
        /// The port then speaks HTTPS only.
        tls_key: Option<PathBuf> = None, value_name: "FILE", nim: &[("NIM_SSL_KEY_PATH", nim::same)];

        /// Certificate chain of the server, in PEM
        ///
        /// The server's own certificate comes first.
        tls_cert: Option<PathBuf> = None, value_name: "FILE", nim: &[("NIM_SSL_CERTS_PATH", nim::same)];

        /// Root certificates of the clients, in PEM
        ///
        /// A client must present a certificate that one of them signed.
        tls_client_ca: Option<PathBuf> = None, value_name: "FILE", nim: &[("NIM_SSL_CA_CERTS_PATH", nim::same)];

        /// File of API keys, `KEY` or `KEY NAME` per line
        ///
        /// Requests without a key are rejected. The file is read again when it changes, and on SIGHUP.
        api_keys_file: Option<PathBuf> = None, value_name: "FILE", unset: "no key is needed";

        /// Ask for an API key on the metrics routes too
        protect_metrics: bool = false, value_name: "true|false";

        /// Origins whose pages may call the server; `*` for any
        cors_origin: Vec<String> = Vec::new(), value_name: "ORIGIN", unset: "none";
    }

    /// Log lines.
    "Logging" logging: LoggingSettings {
        /// Log level: error, warn, info, debug or trace
        ///
        /// Directives for single modules work too, such as `assay::scheduler=debug,warn`.
        log_level: String = "info".to_owned(), value_name: "LEVEL", nim: &[("NIM_LOG_LEVEL", nim::log_level)];

        /// Format of the log lines
        log_format: LogFormat = LogFormat::Human,
            value_name: "FORMAT", nim: &[("NIM_JSONL_LOGGING", nim::log_format)];

        /// Log request bodies, conversations included
        log_requests: bool = false,
            value_name: "true|false", nim: &[("NIM_DISABLE_LOG_REQUESTS", nim::inverted_flag)];
    }

    /// What only TensorRT-LLM engines use.
    "GPU" gpu: GpuSettings {
        /// Share of the free GPU memory for the KV cache
        kv_cache_fraction: f64 = 0.9, value_name: "FRACTION", parse: fraction;

        /// Host memory for parts of the KV cache that leave the GPU
        kv_cache_host_bytes: usize = 0, value_name: "BYTES";

        /// Compute a long prompt in several batches
        ///
        /// The CPU engine always does.
        chunked_context: bool = true, value_name: "true|false";

        /// Maximum time for one sequence, with its wait in the engine
        allotted_time: Option<Seconds> = None, value_name: "SECONDS", unset: "no limit";
    }
}

/// The scheduler has defaults of its own.
fn scheduler() -> SchedulerOptions {
    SchedulerOptions::default()
}
