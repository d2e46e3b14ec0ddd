//! Every option of `assay serve` and its default.
//!
//! [`Options`] holds what one source said: the command line, the environment or a file. Sources are
//! laid over each other with [`Options::or`], and [`Settings::resolve`] fills what none of them said.

mod alias;
mod file;
mod options;
mod units;

use std::ops::Range;
use std::path::PathBuf;
use std::time::Duration;

use serde::Serialize;

use crate::manifest;
use crate::manifest::score_options::{ScoreActivation, ScoreOptions};
use crate::reward::{Head, parse_normals, parse_two, parse_weights};

pub use alias::Alias;
pub use file::{FileError, read};
pub use options::Options;
pub use units::{LogFormat, OnFailure, OverloadStatus, Seconds, Simulation};

use crate::prompt::Truncation;

/// What the server runs with: one value for every option. Serialised, it is a valid options file.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Settings {
    /// The engine directory, or a folder of several.
    pub engine: PathBuf,
    /// Which of several is served: an id, a name, or `auto`.
    pub profile: String,
    /// Serve an engine that computes nothing in place of the directory's own.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub simulate: Option<Simulation>,
    /// Address to listen on.
    pub host: String,
    /// Port to listen on; 0 lets the system choose.
    pub port: u16,
    /// Names the model answers to; the first is the one in answers. Empty: the manifest's.
    pub served_model_name: Vec<String>,
    /// Other names, of all its attributes or of some.
    pub alias: Vec<Alias>,
    /// Longest sequence in tokens; no more than the engine's.
    pub max_seq_len: Option<usize>,
    /// Most sequences in one iteration; no more than the engine's.
    pub max_batch_size: Option<usize>,
    /// Most tokens in one iteration; no more than the engine's.
    pub max_num_tokens: Option<usize>,
    /// Tokens of the longest piece that a prompt is cut into.
    pub max_chunk_tokens: Option<usize>,
    /// Threads of the CPU engine; every core unless said.
    pub threads: Option<usize>,
    /// Tokens whose keys and values the engine keeps.
    pub kv_cache_tokens: Option<usize>,
    /// Part of the free GPU memory that keys and values take, in (0, 1).
    pub kv_cache_fraction: f64,
    /// Host memory for keys and values that no longer fit the GPU's.
    pub kv_cache_host_bytes: usize,
    /// Whether TensorRT-LLM may spread a long prompt over iterations.
    pub chunked_context: bool,
    /// Longest that TensorRT-LLM may work on one text, its own queue included.
    pub allotted_time: Option<Seconds>,
    /// Logits that are scores, `FIRST,END`; the manifest's unless said.
    pub reward_logits_range: Option<String>,
    /// Names of the scores. Empty: the manifest's.
    pub reward_model_string: Vec<String>,
    /// What makes probabilities of the scores.
    pub score_activation: Option<ScoreActivation>,
    /// `NAME=MEAN:STD` of attributes.
    pub score_normalize: Vec<String>,
    /// `LEAST,LARGEST` score.
    pub score_clamp: Option<String>,
    /// `NAME=WEIGHT` of attributes.
    pub score_weights: Vec<String>,
    /// What their sum is called.
    pub score_weighted_name: Option<String>,
    /// Largest request body in bytes.
    pub max_body_bytes: usize,
    /// Most conversations in one request.
    pub max_request_items: usize,
    /// Refuse a conversation whose last turn is not the assistant's.
    pub require_assistant_turn: bool,
    /// Serve the playground at `/`.
    pub playground: bool,
    /// What is done about a prompt that is too long, unless its request says.
    pub truncation: Truncation,
    /// Deadline of requests that bring none.
    pub timeout: Option<Seconds>,
    /// Status of the answer to a request that found the queue full.
    pub overload_status: OverloadStatus,
    /// Time that requests in flight have to finish in after SIGTERM.
    pub shutdown_grace: Seconds,
    /// Most requests that wait.
    pub max_queue_requests: usize,
    /// Most tokens that wait.
    pub max_queue_tokens: usize,
    /// Waiting time that lifts a request by one priority class.
    pub ageing: Seconds,
    /// Longest time that a request is held for another with the same prompt.
    pub follower_hold: Seconds,
    /// Finished conversations whose scores are kept; 0 keeps none.
    pub score_cache: usize,
    /// Whether sequences share the keys and values of a common prefix.
    pub prefix_sharing: bool,
    /// Whether a request that does not say how to sample is sampled as the engine's manifest says.
    pub generation_config: bool,
    /// Time without progress after which the engine counts as stalled.
    pub stall_timeout: Seconds,
    /// What follows a failure of the engine.
    pub on_engine_failure: OnFailure,
    /// Starts in a row of an engine that fails, before the server ends.
    pub restart_attempts: u32,
    /// Wait before the second of them; doubled before each further one.
    pub restart_wait: Seconds,
    /// Most connections at a time.
    pub max_connections: usize,
    /// Largest head of a request in bytes.
    pub max_header_bytes: usize,
    /// Time that a client has to send a request's head in.
    pub header_timeout: Seconds,
    /// Time that a client has to send a request's body in.
    pub body_timeout: Seconds,
    /// Time after which a client that takes nothing of its answer is cut off.
    pub write_timeout: Seconds,
    /// Time that a connection is kept for a next request.
    pub keep_alive: Seconds,
    /// The server's private key; set together with `tls_cert`.
    pub tls_key: Option<PathBuf>,
    /// The server's certificates.
    pub tls_cert: Option<PathBuf>,
    /// Roots of clients' certificates; set only with the other two.
    pub tls_client_ca: Option<PathBuf>,
    /// API keys; without it, none is asked for.
    pub api_keys_file: Option<PathBuf>,
    /// Whether the metrics ask for a key too.
    pub protect_metrics: bool,
    /// Port of the metrics; the server's own unless said.
    pub metrics_port: Option<u16>,
    /// Port of the admin routes on the loopback address; none unless said.
    pub admin_port: Option<u16>,
    /// Origins whose pages may call the server.
    pub cors_origin: Vec<String>,
    /// Whether bodies of requests are logged.
    pub log_requests: bool,
    /// Which log lines are written: a level, or `tracing-subscriber` directives.
    pub log_level: String,
    /// How log lines are written.
    pub log_format: LogFormat,
}

impl Settings {
    /// The value of every option that has one without being told.
    pub fn defaults(engine: PathBuf) -> Self {
        let scheduler = crate::scheduler::Options::default();
        Self {
            engine,
            profile: crate::hardware::profiles::AUTO.into(),
            simulate: None,
            host: "0.0.0.0".into(),
            port: 8000,
            served_model_name: Vec::new(),
            alias: Vec::new(),
            max_seq_len: None,
            max_batch_size: None,
            max_num_tokens: None,
            max_chunk_tokens: scheduler.max_chunk_tokens,
            threads: None,
            kv_cache_tokens: None,
            kv_cache_fraction: 0.9,
            kv_cache_host_bytes: 0,
            chunked_context: true,
            allotted_time: None,
            reward_logits_range: None,
            reward_model_string: Vec::new(),
            score_activation: None,
            score_normalize: Vec::new(),
            score_clamp: None,
            score_weights: Vec::new(),
            score_weighted_name: None,
            max_body_bytes: 16 << 20,
            max_request_items: 1024,
            require_assistant_turn: false,
            playground: true,
            truncation: Truncation::Error,
            timeout: None,
            overload_status: OverloadStatus::TooManyRequests,
            shutdown_grace: Seconds(Duration::from_secs(30)),
            max_queue_requests: scheduler.max_queue_requests,
            max_queue_tokens: scheduler.max_queue_tokens,
            ageing: Seconds(scheduler.ageing),
            follower_hold: Seconds(scheduler.follower_hold),
            score_cache: scheduler.score_cache,
            prefix_sharing: scheduler.prefix_sharing,
            generation_config: true,
            stall_timeout: Seconds(scheduler.stall_timeout),
            on_engine_failure: scheduler.on_failure.into(),
            restart_attempts: scheduler.restart_attempts,
            restart_wait: Seconds(scheduler.restart_wait),
            max_connections: 4096,
            max_header_bytes: 32 << 10,
            header_timeout: Seconds(Duration::from_secs(10)),
            body_timeout: Seconds(Duration::from_secs(60)),
            write_timeout: Seconds(Duration::from_secs(60)),
            keep_alive: Seconds(Duration::from_secs(75)),
            tls_key: None,
            tls_cert: None,
            tls_client_ca: None,
            api_keys_file: None,
            protect_metrics: false,
            metrics_port: None,
            admin_port: None,
            cors_origin: Vec::new(),
            log_requests: false,
            log_level: "info".into(),
            log_format: LogFormat::Human,
        }
    }

    /// Fills what `options` leave open.
    ///
    /// # Errors
    /// No engine is named, or a value makes no sense; the text says which and what to do.
    pub fn resolve(options: Options) -> Result<Self, String> {
        let engine = options
            .engine
            .ok_or("no engine is named: say --engine DIR, where DIR is what `build-engine --output` wrote")?;
        let default = Self::defaults(engine);
        let settings = Self {
            profile: options.profile.unwrap_or(default.profile),
            simulate: options.simulate.or(default.simulate),
            host: options.host.unwrap_or(default.host),
            port: options.port.unwrap_or(default.port),
            served_model_name: options.served_model_name.unwrap_or(default.served_model_name),
            alias: options.alias.unwrap_or(default.alias),
            max_seq_len: options.max_seq_len.or(default.max_seq_len),
            max_batch_size: options.max_batch_size.or(default.max_batch_size),
            max_num_tokens: options.max_num_tokens.or(default.max_num_tokens),
            max_chunk_tokens: options.max_chunk_tokens.or(default.max_chunk_tokens),
            threads: options.threads.or(default.threads),
            kv_cache_tokens: options.kv_cache_tokens.or(default.kv_cache_tokens),
            kv_cache_fraction: options.kv_cache_fraction.unwrap_or(default.kv_cache_fraction),
            kv_cache_host_bytes: options.kv_cache_host_bytes.unwrap_or(default.kv_cache_host_bytes),
            chunked_context: options.chunked_context.unwrap_or(default.chunked_context),
            allotted_time: options.allotted_time.or(default.allotted_time),
            reward_logits_range: options.reward_logits_range,
            reward_model_string: options.reward_model_string.unwrap_or_default(),
            score_activation: options.score_activation,
            score_normalize: options.score_normalize.unwrap_or_default(),
            score_clamp: options.score_clamp,
            score_weights: options.score_weights.unwrap_or_default(),
            score_weighted_name: options.score_weighted_name,
            max_body_bytes: options.max_body_bytes.unwrap_or(default.max_body_bytes),
            max_request_items: options.max_request_items.unwrap_or(default.max_request_items),
            require_assistant_turn: options.require_assistant_turn.unwrap_or(default.require_assistant_turn),
            playground: options.playground.unwrap_or(default.playground),
            truncation: options.truncation.unwrap_or(default.truncation),
            timeout: options.timeout.or(default.timeout),
            overload_status: options.overload_status.unwrap_or(default.overload_status),
            shutdown_grace: options.shutdown_grace.unwrap_or(default.shutdown_grace),
            max_queue_requests: options.max_queue_requests.unwrap_or(default.max_queue_requests),
            max_queue_tokens: options.max_queue_tokens.unwrap_or(default.max_queue_tokens),
            ageing: options.ageing.unwrap_or(default.ageing),
            follower_hold: options.follower_hold.unwrap_or(default.follower_hold),
            score_cache: options.score_cache.unwrap_or(default.score_cache),
            prefix_sharing: options.prefix_sharing.unwrap_or(default.prefix_sharing),
            generation_config: options.generation_config.unwrap_or(default.generation_config),
            stall_timeout: options.stall_timeout.unwrap_or(default.stall_timeout),
            on_engine_failure: options.on_engine_failure.unwrap_or(default.on_engine_failure),
            restart_attempts: options.restart_attempts.unwrap_or(default.restart_attempts),
            restart_wait: options.restart_wait.unwrap_or(default.restart_wait),
            max_connections: options.max_connections.unwrap_or(default.max_connections),
            max_header_bytes: options.max_header_bytes.unwrap_or(default.max_header_bytes),
            header_timeout: options.header_timeout.unwrap_or(default.header_timeout),
            body_timeout: options.body_timeout.unwrap_or(default.body_timeout),
            write_timeout: options.write_timeout.unwrap_or(default.write_timeout),
            keep_alive: options.keep_alive.unwrap_or(default.keep_alive),
            protect_metrics: options.protect_metrics.unwrap_or(default.protect_metrics),
            cors_origin: options.cors_origin.unwrap_or(default.cors_origin),
            log_requests: options.log_requests.unwrap_or(default.log_requests),
            tls_key: options.tls_key.or(default.tls_key),
            tls_cert: options.tls_cert.or(default.tls_cert),
            tls_client_ca: options.tls_client_ca.or(default.tls_client_ca),
            api_keys_file: options.api_keys_file.or(default.api_keys_file),
            metrics_port: options.metrics_port.or(default.metrics_port),
            admin_port: options.admin_port.or(default.admin_port),
            log_level: options.log_level.unwrap_or(default.log_level),
            log_format: options.log_format.unwrap_or(default.log_format),
            engine: default.engine,
        };
        settings.check()?;
        Ok(settings)
    }

    fn check(&self) -> Result<(), String> {
        let counts = [
            ("max_seq_len", self.max_seq_len),
            ("max_batch_size", self.max_batch_size),
            ("max_num_tokens", self.max_num_tokens),
            ("max_chunk_tokens", self.max_chunk_tokens),
            ("threads", self.threads),
            ("kv_cache_tokens", self.kv_cache_tokens),
            ("max_body_bytes", Some(self.max_body_bytes)),
            ("max_connections", Some(self.max_connections)),
            ("max_header_bytes", Some(self.max_header_bytes)),
            ("max_request_items", Some(self.max_request_items)),
            ("max_queue_requests", Some(self.max_queue_requests)),
            ("max_queue_tokens", Some(self.max_queue_tokens)),
        ];
        if let Some((name, _)) = counts.iter().find(|(_, value)| *value == Some(0)) {
            return Err(format!("{name} is 0: it must be at least 1; leave it out for the default"));
        }
        if !(self.kv_cache_fraction > 0.0 && self.kv_cache_fraction < 1.0) {
            let fraction = self.kv_cache_fraction;
            return Err(format!("kv_cache_fraction is {fraction}: it must be above 0 and below 1, as 0.9"));
        }
        if self.served_model_name.iter().any(|name| name.trim().is_empty()) {
            return Err("served_model_name holds an empty name: leave it out for the engine's own".into());
        }
        self.check_tls()?;
        self.score_options()?;
        self.logits_range()?;
        Ok(())
    }

    fn check_tls(&self) -> Result<(), String> {
        match (&self.tls_key, &self.tls_cert, &self.tls_client_ca) {
            (Some(_), None, _) => {
                Err("tls_key is set and tls_cert is not: name the server's certificates too".into())
            }
            (None, Some(_), _) => Err("tls_cert is set and tls_key is not: name the server's key too".into()),
            (None, None, Some(_)) => Err(
                "tls_client_ca asks clients for certificates, which needs TLS: set tls_key and tls_cert too"
                    .into(),
            ),
            _ => Ok(()),
        }
    }

    /// How the scores of an engine are chosen, called and changed.
    ///
    /// # Errors
    /// The options do not fit the engine; the text says which and why.
    pub fn head(&self, head: &manifest::Head) -> Result<Head, String> {
        let names = (!self.reward_model_string.is_empty()).then_some(self.reward_model_string.as_slice());
        Head::with_options(head, self.logits_range()?, names, self.score_options()?)
    }

    fn logits_range(&self) -> Result<Option<Range<usize>>, String> {
        let range = |text: &String| {
            let [first, end] = parse_two::<usize>("reward_logits_range", text)?;
            let wrong =
                || format!("reward_logits_range is {first},{end}: END must be above FIRST, as in 0,1");
            (first < end).then_some(first..end).ok_or_else(wrong)
        };
        self.reward_logits_range.as_ref().map(range).transpose()
    }

    fn score_options(&self) -> Result<ScoreOptions, String> {
        let clamp = self.score_clamp.as_ref().map(|text| parse_two("score_clamp", text)).transpose()?;
        Ok(ScoreOptions {
            activation: self.score_activation,
            normalize: parse_normals(&self.score_normalize)?,
            clamp,
            weights: parse_weights(&self.score_weights)?,
            weighted_name: self.score_weighted_name.clone(),
        })
    }

    /// The scheduler's part.
    pub fn scheduler(&self) -> crate::scheduler::Options {
        crate::scheduler::Options {
            max_queue_requests: self.max_queue_requests,
            max_queue_tokens: self.max_queue_tokens,
            ageing: self.ageing.0,
            follower_hold: self.follower_hold.0,
            score_cache: self.score_cache,
            stall_timeout: self.stall_timeout.0,
            on_failure: self.on_engine_failure.into(),
            restart_attempts: self.restart_attempts,
            restart_wait: self.restart_wait.0,
            prefix_sharing: self.prefix_sharing,
            max_chunk_tokens: self.max_chunk_tokens,
        }
    }
}

#[cfg(test)]
mod tests;
