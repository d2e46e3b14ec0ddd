//! The table of options: one row for each.
//!
//! A row gives the name, the type, the default and the help (the first paragraph is shown by `-h`, all of it by
//! `--help`). It may add, by key: the placeholder for the value in help, what help says about a default that
//! is chosen later, how the value is read, old names, and NIM's variables for the option. The command line,
//! the variable `ASSAY_*`, the key in YAML, the settings and `--print-config` follow from it.

use std::path::PathBuf;

use super::InvalidValue;
use super::nim;
use super::row::{Described, Row, Setting, options};
use super::score_values::{Clamp, LogitsRange, Named};
use super::values::{
    FinishReason, OnEngineChange, OverloadStatus, RouteActivation, Seconds, finite, fraction, name, positive,
    thread_count,
};
use crate::engine::simulated::Simulation;
use crate::hardware::profiles;
use crate::manifest::score_options::{Normal, ScoreActivation};
use crate::prompt::{TemplateVariables, Truncation};
use crate::scheduler::{OnFailure, SchedulerOptions};
use crate::serving::Alias;
use crate::telemetry::logs::LogFormat;

options! {
    /// The HTTP server: where it listens, and what it accepts.
    "Server" server: ServerSettings {
        /// Address to listen on
        host: String = "0.0.0.0".to_owned(), value_name: "ADDRESS";

        /// Port to listen on; 0 for a free one
        port: u16 = 8000, value_name: "PORT", nim: &[("NIM_SERVER_PORT", nim::same)];

        /// Separate port for the metrics
        ///
        /// That port has no TLS and asks for no API key. The main port then serves no metrics.
        metrics_port: Option<u16> = None, value_name: "PORT", unset: "the main port";

        /// Port for the admin routes, on 127.0.0.1 only
        admin_port: Option<u16> = None, value_name: "PORT", unset: "no admin routes";

        /// Names of the model, separated by commas
        ///
        /// Responses carry the first. Names can also follow the option one by one.
        served_model_name: Vec<String> = Vec::new(),
            value_name: "NAME", unset: "the engine's", parse: name, nim: &[("NIM_SERVED_MODEL_NAME", nim::same)];

        /// More names for the model or some of its attributes
        ///
        /// NAME stands for the whole model, NAME=ATTRIBUTE,ATTRIBUTE for these attributes of it. Give the option
        /// once for each alias, or separate aliases by spaces.
        alias: Vec<Alias> = Vec::new(), value_name: "ALIAS", unset: "none";

        /// Serve a page to try the model, at /
        playground: bool = true, value_name: "BOOL";

        /// Maximum size of a request body
        max_body_bytes: usize = 16 << 20, value_name: "BYTES", parse: positive;

        /// Memory for request bodies in flight
        ///
        /// The first 64 KiB of a body are free. A request whose body does not fit is answered like one that meets a
        /// full queue.
        max_inflight_bytes: usize = 256 << 20, value_name: "BYTES", parse: positive;

        /// Maximum conversations per request
        ///
        /// A list may be longer than the queue: its items enter the queue as it has room.
        max_request_items: usize = 128 << 10, value_name: "COUNT", parse: positive;

        /// Require a final assistant turn
        ///
        /// A conversation that ends with another turn is rejected.
        require_assistant_turn: bool = false, value_name: "BOOL";

        /// How to shorten overlong prompts
        ///
        /// A request's own `truncation` takes precedence.
        truncation: Truncation = Truncation::Error, value_name: "HOW";

        /// Variables for the chat template, as JSON
        ///
        /// Such as '{"enable_thinking": false}'. Those in a request's own `chat_template_kwargs` take precedence.
        chat_template_kwargs: Option<TemplateVariables> = None, value_name: "JSON", unset: "none";

        /// Finish reason of scores
        ///
        /// For /v1/chat/completions: `stop`, or `length` as NIM's reward models return. The `openai` package's
        /// `parse()` raises an error on `length`.
        finish_reason: FinishReason = FinishReason::Stop, value_name: "REASON";

        /// Deadline for requests that set none
        timeout: Option<Seconds> = None, value_name: "SECONDS", unset: "none";

        /// Status code for a full queue
        ///
        /// 429, or 503 for clients that give up on any 4xx.
        overload_status: OverloadStatus = OverloadStatus::TooManyRequests, value_name: "STATUS";

        /// Maximum number of open connections
        ///
        /// A connection above the limit gets a 503.
        max_connections: usize = 4096, value_name: "COUNT", parse: positive;

        /// Maximum size of request headers
        max_header_bytes: usize = 32 << 10, value_name: "BYTES", parse: positive;

        /// Timeout for receiving request headers
        header_timeout: Seconds = Seconds::new(10), value_name: "SECONDS";

        /// Timeout for receiving a request body
        body_timeout: Seconds = Seconds::new(60), value_name: "SECONDS";

        /// Timeout for sending a response
        ///
        /// A client that reads nothing for this long is disconnected.
        write_timeout: Seconds = Seconds::new(60), value_name: "SECONDS";

        /// Timeout for idle connections
        keep_alive: Seconds = Seconds::new(75), value_name: "SECONDS";

        /// Time to finish requests after SIGTERM
        shutdown_grace: Seconds = Seconds::new(30), value_name: "SECONDS";
    }

    /// The engine: which one is loaded, its limits, and what happens when it fails.
    "Engine" engine: EngineSettings {
        /// Model to serve, as an option
        ///
        /// An engine directory, a folder of several, of which `--profile` chooses one, a checkpoint directory, or
        /// OWNER/NAME of a model in the Hugging Face cache. `--engines` is the same option.
        directory("engine"): PathBuf = PathBuf::new(),
            value_name: "MODEL", aliases: &["engines"],
            nim: &[("NIM_MODEL_NAME", nim::directory), ("NIM_CACHE_PATH", nim::same)];

        /// Which of several engines to load
        ///
        /// An id or a name, as `assay profiles` lists them, or `auto` for the best that runs on this machine.
        profile: String = profiles::AUTO.to_owned(), value_name: "PROFILE", nim: &[("NIM_MODEL_PROFILE", nim::same)];

        /// Lower the maximum length of a sequence
        ///
        /// A value above the limit that the engine was built with is refused.
        max_seq_len: Option<usize> = None,
            value_name: "TOKENS", unset: "the engine's", parse: positive, nim: &[("NIM_MAX_MODEL_LEN", nim::same)];

        /// Lower the maximum number of sequences in a batch
        ///
        /// A value above the limit that the engine was built with is refused.
        max_batch_size: Option<usize> = None, value_name: "COUNT", unset: "the engine's", parse: positive;

        /// Lower the maximum number of tokens in a batch
        ///
        /// A value above the limit that the engine was built with is refused.
        max_num_tokens: Option<usize> = None, value_name: "TOKENS", unset: "the engine's", parse: positive;

        /// Size of the KV cache
        kv_cache_tokens: Option<usize> = None,
            value_name: "TOKENS", unset: "chosen by the engine", parse: positive;

        /// Threads of the CPU engine
        threads: Option<usize> = None, value_name: "COUNT", unset: "one per physical core in the affinity mask, within the CPU quota", parse: thread_count;

        /// Use the model's sampling defaults
        ///
        /// They come from the checkpoint's generation_config.json and apply where a request sets nothing.
        generation_config: bool = true, value_name: "BOOL";

        /// What to do when the engine fails
        on_engine_failure: OnFailure = OnFailure::Restart, value_name: "ACTION";

        /// What to do when the engine's files change
        ///
        /// Scores do not change, because the server has read the files into its own memory.
        on_engine_change: OnEngineChange = OnEngineChange::Report, value_name: "ACTION";

        /// Failed restarts before the server exits
        ///
        /// A restarted engine that answers a request has not failed; the count then starts again.
        restart_attempts: u32 = scheduler().restart_attempts, value_name: "COUNT";

        /// Wait before the second restart
        ///
        /// The wait doubles before each further one.
        restart_wait: Seconds = Seconds(scheduler().restart_wait), value_name: "SECONDS";

        /// Time a busy engine may take without progress
        ///
        /// An engine is stalled while it has work and makes no progress.
        stall_timeout: Seconds = Seconds(scheduler().stall_timeout), value_name: "SECONDS";

        /// Simulate the engine; scores mean nothing
        ///
        /// This tests the server and its clients without computing anything.
        simulate: Option<Simulation> = None, value_name: "HOW", unset: "off";
    }

    /// The queue, and how batches are made from it.
    "Scheduling" scheduling: SchedulingSettings {
        /// Maximum number of queued requests
        max_queue_requests: usize = scheduler().max_queue_requests, value_name: "COUNT", parse: positive;

        /// Maximum number of queued tokens
        max_queue_tokens: usize = scheduler().max_queue_tokens, value_name: "TOKENS", parse: positive;

        /// Maximum tokens of one prompt per batch
        ///
        /// It applies while other requests wait. A longer prompt is computed in several batches; lower values delay
        /// short requests less.
        max_chunk_tokens: Option<usize> = None, value_name: "TOKENS", unset: "a quarter of a batch, for prompts longer than half of one", parse: positive;

        /// Waiting time worth one priority class
        ageing: Seconds = Seconds(scheduler().ageing), value_name: "SECONDS";

        /// Compute shared prefixes once
        prefix_sharing: bool = scheduler().prefix_sharing,
            value_name: "BOOL", nim: &[("NIM_ENABLE_KV_CACHE_REUSE", nim::flag)];

        /// Maximum wait for another request's prefix
        ///
        /// A request waits while another computes a prefix that both share.
        max_prefix_wait: Seconds = Seconds(scheduler().max_prefix_wait),
            value_name: "SECONDS", aliases: &["follower_hold"];

        /// Conversations whose scores are cached
        score_cache: usize = scheduler().score_cache, value_name: "COUNT";
    }

    /// How logits become the scores that are served.
    "Scoring" scoring: ScoringSettings {
        /// Logits that are scores: FIRST up to but not END
        ///
        /// `0,1` is the first logit of the model's head.
        reward_logits_range: Option<LogitsRange> = None,
            value_name: "FIRST,END", unset: "the engine's", nim: &[("NIM_REWARD_LOGITS_RANGE", nim::same)];

        /// File of the questions that a language model is asked
        ///
        /// An engine that generates text then scores conversations by the probabilities of its answers
        /// (docs/judges.md).
        judge: Option<PathBuf> = None, value_name: "FILE", unset: "none";

        /// Names of the scores
        ///
        /// Give as many names as the model has scores.
        reward_model_string: Vec<String> = Vec::new(),
            value_name: "NAME", unset: "the engine's", nim: &[("NIM_REWARD_MODEL_STRING", nim::same)];

        /// Kind of values on other servers' routes
        ///
        /// It applies where a request does not say whether it wants raw scores or probabilities. The routes of vLLM,
        /// TEI and others give probabilities with `peer`, as those servers do.
        activation: RouteActivation = RouteActivation::Raw, value_name: "HOW";

        /// Turn scores into probabilities
        score_activation: Option<ScoreActivation> = None, value_name: "HOW", unset: "none";

        /// Change scores to (score - MEAN) / STD
        score_normalize: Vec<Named<Normal>> = Vec::new(), value_name: "NAME=MEAN:STD", unset: "none";

        /// Limit scores to a range
        ///
        /// A score outside the range becomes the nearer end of it.
        score_clamp: Option<Clamp> = None, value_name: "LOWEST,HIGHEST", unset: "none", hyphens: true;

        /// Add the weighted sum of attributes as a score
        score_weights: Vec<Named<f64>> = Vec::new(), value_name: "NAME=WEIGHT", unset: "none";

        /// Upper bounds of the histogram of scores in the metrics
        ///
        /// Choose those between which your model's scores differ; they must increase.
        score_buckets: Vec<f64> = Vec::new(),
            value_name: "SCORE", unset: "17 from -40 to 40, finer around 0", parse: finite, hyphens: true;

        /// Name of the weighted sum
        score_weighted_name: Option<String> = None, value_name: "NAME", unset: "weighted";
    }

    /// TLS, API keys, and who may call.
    "Security" security: SecuritySettings {
        /// Private key of the server, in PEM
        ///
        /// It needs `--tls-cert`. The port then speaks HTTPS only.
        tls_key: Option<PathBuf> = None, value_name: "FILE", nim: &[("NIM_SSL_KEY_PATH", nim::same)];

        /// Certificate chain of the server, in PEM
        ///
        /// The server's own certificate comes first.
        tls_cert: Option<PathBuf> = None, value_name: "FILE", nim: &[("NIM_SSL_CERTS_PATH", nim::same)];

        /// Certificate authorities of the clients, in PEM
        ///
        /// A client without a certificate from one of them is refused.
        tls_client_ca: Option<PathBuf> = None, value_name: "FILE", nim: &[("NIM_SSL_CA_CERTS_PATH", nim::same)];

        /// File of API keys, `KEY` or `KEY NAME` per line
        ///
        /// A request without one of the keys is rejected. The file is read again when it changes, and on SIGHUP.
        api_keys_file: Option<PathBuf> = None, value_name: "FILE", unset: "no key is needed";

        /// Private key that signs responses, in PEM (Ed25519)
        ///
        /// Others than the file's owner and group may not have access to it. The file is read again when it changes,
        /// and on SIGHUP. See docs/signing.md.
        signing_key: Option<PathBuf> = None, value_name: "FILE", unset: "responses are not signed";

        /// Ask for an API key for the metrics too
        protect_metrics: bool = false, value_name: "BOOL";

        /// Origins whose pages may call the server, or `*`
        cors_origin: Vec<String> = Vec::new(), value_name: "ORIGIN", unset: "none";
    }

    /// What is logged, and how.
    "Logging" logging: LoggingSettings {
        /// Log level, such as warn or debug
        ///
        /// One of error, warn, info, debug and trace, or directives for single modules, such as
        /// `assay::scheduler=debug,warn`.
        log_level: String = "info".to_owned(), value_name: "LEVEL", nim: &[("NIM_LOG_LEVEL", nim::log_level)];

        /// Format of the log
        log_format: LogFormat = LogFormat::Human,
            value_name: "FORMAT", nim: &[("NIM_JSONL_LOGGING", nim::log_format)];

        /// Log the body of every request
        ///
        /// Bodies hold the users' conversations.
        log_requests: bool = false,
            value_name: "BOOL", nim: &[("NIM_DISABLE_LOG_REQUESTS", nim::inverted_flag)];
    }

    /// What only TensorRT-LLM engines use.
    "GPU" gpu: GpuSettings {
        /// Share of GPU memory for the KV cache
        ///
        /// It is a share, above 0 and below 1, of the memory that is free after loading the weights.
        kv_cache_fraction: f64 = 0.9, value_name: "FRACTION", parse: fraction;

        /// Host memory that extends the KV cache
        kv_cache_host_bytes: usize = 0, value_name: "BYTES";

        /// Split long prompts over several batches
        ///
        /// The CPU engine always does.
        chunked_context: bool = true, value_name: "BOOL";

        /// Maximum time in the engine for a sequence
        ///
        /// It counts from when the server hands the sequence to TensorRT-LLM, whose own queue is included. A sequence
        /// that takes longer is cancelled and fails.
        allotted_time: Option<Seconds> = None, value_name: "SECONDS", unset: "none";

        /// Host memory for logits that TensorRT-LLM returns
        ///
        /// For each request with log-probabilities it reserves the vocabulary's width for every token that the request
        /// may generate. Requests wait while this much is reserved, and one that needs more is refused.
        logits_host_bytes: usize = 4 << 30, value_name: "BYTES";
    }
}

/// The scheduler has defaults of its own.
fn scheduler() -> SchedulerOptions {
    SchedulerOptions::default()
}
